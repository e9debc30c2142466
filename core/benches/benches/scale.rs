//! `cargo bench -p scrollback-bench --bench scale`: cost against the number of sessions, and single figures, with what is
//! asked of each; `-- --json` for programs, `-- --only NAME` (sizes, flush, start, memory, read, sparse, growth, kept, beside),
//! `-- --sizes N,N`, `-- --messages N`, `-- --quick` for a hundredth, `-- --plot FILE.svg` for a picture of the sizes.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that shows figures"
)]

use std::path::PathBuf;

use scrollback_bench::scale::{self, CHILD, Scale};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut options = Scale::default();
    let (mut json, mut plot) = (false, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            CHILD => return scale::child(&arguments.collect::<Vec<_>>()).await,
            "--json" => json = true,
            "--only" => options.only.push(value()),
            "--messages" => options.messages = value().parse()?,
            "--sizes" => {
                let sizes = value();
                let sizes = sizes.split(',').map(str::parse).collect::<Result<_, _>>();
                options.sizes = sizes?;
            }
            "--plot" => plot = Some(PathBuf::from(value())),
            "--quick" => {
                options.divided_by = 100;
                options.sizes = vec![100, 1_000];
            }
            // cargo's own.
            "--bench" => {}
            other => anyhow::bail!("unknown argument {other}"),
        }
    }
    let scaled = scale::scale(&options, |what| eprintln!("{what} …")).await?;
    if let Some(path) = plot {
        scale::draw(&scaled.sizes, &path)?;
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&scaled)?);
    } else {
        println!("{scaled}");
    }
    Ok(())
}
