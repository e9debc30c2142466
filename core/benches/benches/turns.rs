//! `cargo bench -p scrollback-bench --bench turns`: the table; `-- --json` for programs, `-- --only NAME`, `-- --tasks N`,
//! `-- --redis URL`. With `--features allocations` they are counted.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that shows figures"
)]

use scrollback_bench::Options;

/// The system's, counted.
#[cfg(feature = "allocations")]
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

#[cfg(feature = "allocations")]
fn allocations() -> u64 {
    let stats = ALLOCATOR.stats();
    (stats.allocations + stats.reallocations) as u64
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut options = Options::default();
    #[cfg(feature = "allocations")]
    {
        options.allocations = Some(allocations);
    }
    let mut json = false;
    let mut arguments = std::env::args().skip(1);
    let mut tasks = Vec::new();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--json" => json = true,
            "--redis" => options.redis = Some(value()),
            "--only" => options.only.push(value()),
            "--tasks" => tasks.push(value().parse()?),
            "--rounds" => options.rounds = value().parse()?,
            "--sessions" => options.sessions = value().parse()?,
            "--turns" => options.turns = value().parse()?,
            "--history" => options.history = value().parse()?,
            // cargo's own.
            "--bench" => {}
            other => anyhow::bail!("unknown argument {other}"),
        }
    }
    if !tasks.is_empty() {
        options.tasks = tasks;
    }
    let told = |done, all| {
        eprint!("\r{done}/{all}  ");
        true
    };
    let report = scrollback_bench::run(&options, told).await?;
    eprintln!();
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}
