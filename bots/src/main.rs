//! The `scrollback` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    scrollback_bots::main()
}
