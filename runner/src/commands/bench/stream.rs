//! `bedrock bench stream`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use loom_bench::stream;

use crate::ending::Scratch;
use crate::places::{Places, print};
use crate::render::terminal;

/// What a call of loom-stream costs on the recorded requests and on large layers, beside the
/// original's binary where it is given.
#[derive(Debug, Args)]
pub(crate) struct StreamArgs {
    /// The original's loom-stream.
    #[arg(long, value_name = "FILE")]
    original: Option<PathBuf>,
    /// Our loom-stream [default: the one beside this program].
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Turns of both programs with each request, of 5 calls each.
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
    pairs: u16,
    /// Run this program a few times on a request and print what that took.
    #[arg(long, hide = true)]
    job: Option<PathBuf>,
}

pub(crate) fn run(args: StreamArgs) -> anyhow::Result<()> {
    if let Some(program) = args.job {
        return print(&stream::job(&program)?);
    }
    let places = Places::here()?;
    let absolute = |path: PathBuf| path.canonicalize().with_context(|| path.display().to_string());
    let beside = || Ok(std::env::current_exe()?.with_file_name(format!("loom-stream{}", std::env::consts::EXE_SUFFIX)));
    let plan = stream::Plan {
        vectors: places.golden.join("loom-0.80/stream"),
        ours: args.program.map_or_else(beside, absolute)?,
        original: args.original.map(absolute).transpose()?,
        pairs: args.pairs.into(),
    };
    let (scratch, bar) = (Scratch::new()?, terminal::bar(0));
    let text = stream::stream(&plan, scratch.path(), &|done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    print(&text)
}
