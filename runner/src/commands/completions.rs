//! `bedrock completions`.

use clap::{Args, CommandFactory as _};

use super::Cli;
use crate::places::{End, print};

/// Print shell completions.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<End> {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bedrock", &mut out);
    print(&String::from_utf8_lossy(&out))?;
    Ok(End::Green)
}
