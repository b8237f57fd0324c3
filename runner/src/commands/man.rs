//! `bedrock man`.

use clap::{Args, CommandFactory as _};

use super::Cli;
use crate::places::{End, print};

/// Print the man page.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {}

pub(crate) fn run() -> anyhow::Result<End> {
    let mut out = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut out)?;
    print(&String::from_utf8_lossy(&out))?;
    Ok(End::Green)
}
