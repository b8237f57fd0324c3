//! `bedrock bench kernels`.

use std::path::PathBuf;

use clap::Args;
use loom_bench::kernels;

use crate::places::{Places, print};
use crate::values::{DtypeArg, dtype};

/// The matrix kernel in every dtype, beside NumPy, PyTorch and the original runtime
/// (welvet) where a Python that has them is given.
#[derive(Debug, Args)]
pub(crate) struct KernelsArgs {
    /// Measure this dtype only; may be given several times.
    #[arg(long, value_name = "DTYPE", value_parser = dtype)]
    dtype: Vec<DtypeArg>,
    /// Threads of ours and of the rivals.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Timed pairs of each measurement.
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
    pairs: u16,
    /// Extent of the matrix of the matrix times vector product.
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u16).range(1..=16384))]
    vector: u16,
    /// Extents of the products of two square matrices.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "64,128,256,512,1024", value_parser = clap::value_parser!(u16).range(1..=4096))]
    squares: Vec<u16>,
    /// The Python that has the rivals installed; without it ours stand alone.
    #[arg(long, value_name = "FILE", env = "BEDROCK_PYTHON")]
    python: Option<PathBuf>,
}

pub(crate) fn run(args: KernelsArgs) -> anyhow::Result<()> {
    let plan = kernels::Plan {
        dtypes: args.dtype.iter().filter_map(|dtype| dtype.one()).collect(),
        threads: args.threads.into(),
        pairs: args.pairs.into(),
        vector: args.vector.into(),
        squares: args.squares.into_iter().map(usize::from).collect(),
    };
    let script = Places::here()?.root.join("python/bench/rivals.py");
    print(&kernels::kernels(&plan, args.python.as_deref(), &script)?)
}
