//! `bedrock bench`.

#[cfg(feature = "gpu")]
mod gpu;
mod io;
mod kernels;
mod stream;

use clap::{Args, Subcommand};

use crate::places::End;

/// Measure speed; judges nothing and writes nothing.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    what: BenchCommand,
}

/// What `bedrock bench` measures.
#[derive(Debug, Subcommand)]
enum BenchCommand {
    Io(io::IoArgs),
    Stream(stream::StreamArgs),
    #[cfg(feature = "gpu")]
    Gpu(gpu::GpuArgs),
    Kernels(kernels::KernelsArgs),
}

pub(crate) fn run(args: BenchArgs) -> anyhow::Result<End> {
    match args.what {
        BenchCommand::Io(args) => io::run(args)?,
        BenchCommand::Stream(args) => stream::run(args)?,
        #[cfg(feature = "gpu")]
        BenchCommand::Gpu(args) => gpu::run(&args)?,
        BenchCommand::Kernels(args) => kernels::run(args)?,
    }
    Ok(End::Green)
}
