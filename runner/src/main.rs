//! `bedrock`: the command line over the stages of the library.

use std::process::ExitCode;

use clap::Parser as _;
use loom_runner::commands::Cli;
use loom_runner::ending;
use loom_runner::places::{End, Mistake, complain};

fn main() -> ExitCode {
    ending::prepare();
    let end = match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(usage) => return told(&usage),
    };
    match end {
        Ok(End::Green) => ExitCode::SUCCESS,
        Ok(End::Red) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::from(if error.is::<Mistake>() { 2 } else { 1 })
        }
    }
}

/// Prints help, or what is wrong with a call.
fn told(usage: &clap::Error) -> ExitCode {
    match usage.print() {
        _ if usage.use_stderr() => ExitCode::from(2),
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
