//! `bedrock entity run`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use loom_core::format::Open;
use loom_core::{Cpu, Isa, State, Threads};

use super::{array, open};

/// A forward.
#[derive(Debug, Args)]
pub(super) struct ForwardArgs {
    /// The checkpoint.
    file: PathBuf,
    /// An input: x.npy, x.npz (x.npz:NAME where it holds several arrays) or x.json (nested
    /// arrays); several times for networks with several inputs.
    #[arg(long, value_name = "FILE", required = true)]
    input: Vec<String>,
    /// Where it runs.
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    backend: Backend,
    /// Elements that may be held at a time [default: 268435456, which is 1 GiB].
    #[arg(long, value_name = "N")]
    elements: Option<usize>,
    /// y.npy, y.json, or - for nested arrays on standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

/// Where a forward runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// This machine's processor, all cores.
    Cpu,
}

pub(super) fn forward(args: &ForwardArgs, strict: Open) -> anyhow::Result<String> {
    let (checkpoint, _) = open(&args.file, strict)?;
    let mut state = State::default();
    if let Some(elements) = args.elements {
        state.allow(elements);
    }
    let named = || args.file.display().to_string();
    let inputs = args.input.iter().map(|input| array::read(input)).collect::<anyhow::Result<Vec<_>>>()?;
    let cpu = match args.backend {
        Backend::Cpu => Cpu::with(Isa::best(), Threads::Multi).unwrap_or_else(Cpu::best),
    };
    let y = if checkpoint.decoder().is_some() {
        let transformer = checkpoint.transformer().with_context(named)?;
        transformer.decoder().run(&inputs, &mut state, &cpu)
    } else {
        checkpoint.network().with_context(named)?.run(&inputs, &mut state, &cpu)
    };
    array::write(&args.output, &y.with_context(named)?)
}
