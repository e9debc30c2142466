//! What the `scrollback` binary does: reads its configuration, opens the cache and runs one subcommand.
//!
//! Everything that can be decided lies in the modules below; this file only joins them.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

mod bench;
mod chat;
mod cli;
mod config;
mod console;
mod control;
mod duration;
mod exit;
mod export;
mod lines;
mod open;
mod replay;
mod signals;
mod simulate;
#[cfg(feature = "testing")]
pub mod testing;

use chat::Platforms;
use cli::{Cli, Command};
use config::Config;
use exit::Exit;

/// Runs the subcommand that the command line asks for; ends with one of the codes that `--help` lists.
#[must_use]
pub fn main() -> ExitCode {
    quiet_sled();
    let cli = Cli::parse();
    exit::report(start(cli))
}

/// The core catches sled's panics on a damaged store and says itself what they mean.
fn quiet_sled() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let in_sled = panic
            .location()
            .is_some_and(|at| at.file().contains("/sled-"));
        if in_sled {
            tracing::debug!(%panic, "sled panicked; caught");
        } else {
            loud(panic);
        }
    }));
}

fn start(cli: Cli) -> anyhow::Result<Exit> {
    let config = Config::load(cli.settings)?;
    let command = cli.command.unwrap_or(Command::Console);
    open::log_to_stderr(config.log.as_deref().unwrap_or(command.default_log()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let ended = runtime.block_on(run(&config, command));
    // A thread that still waits for the terminal's next line must not hold the process up.
    runtime.shutdown_background();
    ended
}

async fn run(config: &Config, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Console => console::run(config).await,
        Command::Discord => chat::run(config, Platforms::Discord).await,
        Command::Telegram => chat::run(config, Platforms::Telegram).await,
        Command::Run => chat::run(config, Platforms::All).await,
        Command::Replay(args) => replay::run(config, args).await,
        Command::Export(args) => control::ask(config, &args.request()?, control::Show::Lines).await,
        Command::History(args) => control::ask(config, &args.request(), args.show()).await,
        Command::Forget(args) => control::ask(config, &args.request()?, args.show()).await,
        Command::Verify(args) => {
            control::ask(config, &control::Request::Verify {}, args.show_verified()).await
        }
        Command::Compact(args) => {
            control::ask(config, &control::Request::Compact {}, args.show_compacted()).await
        }
        Command::Stats(args) => {
            control::ask(config, &control::Request::Stats {}, args.show_stats()).await
        }
        Command::Bench(args) => bench::run(config, args.json()).await,
        Command::Simulate(args) => simulate::run(config, &args).await,
        Command::Keygen { file } => config::generate_key(&file).map(|()| Exit::Ok),
        Command::RotateKey { file } => {
            let file = std::path::absolute(&file).context("the key file's path")?;
            let request = control::Request::RotateKey { file };
            control::ask(config, &request, control::Show::Pairs).await
        }
    }
}
