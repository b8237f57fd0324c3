//! `bedrock bench io`.

use std::path::{Path, PathBuf};

use clap::Args;
use loom_bench::io;

use crate::places::{Places, print};

/// Saving and loading checkpoints beside the crate safetensors and the original runtime
/// (welvet) where a Python that has it is given; and the memory that saving takes.
#[derive(Debug, Args)]
pub(crate) struct IoArgs {
    /// Dense layers.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    layers: u16,
    /// Extent of their square matrices.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u16).range(1..=16384))]
    size: u16,
    /// Timed pairs of each measurement.
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
    pairs: u16,
    /// Where files are written and removed again [default: /dev/shm where there is one,
    /// otherwise the temporary folder].
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The Python that has welvet installed; without it safetensors stands alone.
    #[arg(long, value_name = "FILE", env = "BEDROCK_PYTHON")]
    python: Option<PathBuf>,
    /// Do one thing and print the peak memory.
    #[arg(long, hide = true)]
    job: Option<String>,
}

pub(crate) fn run(args: IoArgs) -> anyhow::Result<()> {
    let shm = Path::new("/dev/shm");
    let default = || if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
    let plan = io::Plan {
        layers: args.layers.into(),
        size: args.size.into(),
        pairs: args.pairs.into(),
        folder: args.folder.unwrap_or_else(default),
    };
    let text = match args.job {
        Some(job) => io::job(&plan, &job)?,
        None => {
            let script = Places::here()?.root.join("python/bench/checkpoints.py");
            io::io(&plan, args.python.as_deref(), &script)?
        }
    };
    print(&text)
}
