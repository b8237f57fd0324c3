//! `bedrock gpu`.

use clap::{Args, Subcommand};

use crate::places::{End, Mistake, print};
use crate::stages::device::{self, GpuLane};

/// The GPUs of this machine, and what they make of single operations.
#[derive(Debug, Args)]
pub(crate) struct GpuArgs {
    /// What to do.
    #[command(subcommand)]
    what: GpuCommand,
}

/// What `bedrock gpu` shows.
#[derive(Debug, Subcommand)]
enum GpuCommand {
    /// List the adapters.
    List,
    /// Open adapters and measure their arithmetic; all of them where none is named.
    Probe {
        /// Numbers or parts of names in `bedrock gpu list`.
        adapters: Vec<String>,
    },
}

pub(crate) fn run(args: &GpuArgs) -> anyhow::Result<End> {
    match &args.what {
        GpuCommand::List => print(&device::list(&device::chosen(&[]).map_err(Mistake::of)?))?,
        GpuCommand::Probe { adapters } => {
            let adapters = device::chosen(adapters).map_err(Mistake::of)?;
            let probe = |adapter| device::probe(adapter, &GpuLane::open(adapter, device::options()));
            match adapters.is_empty() {
                true => print(device::ABSENT)?,
                false => print(&adapters.iter().map(probe).collect::<Vec<_>>().join("\n"))?,
            }
        }
    }
    Ok(End::Green)
}
