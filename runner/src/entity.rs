//! `bedrock entity`: checkpoints looked at, checked, converted, run and compared.

mod array;
mod diff;
mod inspect;
mod same;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use loom_core::format::{Budget, Checkpoint, Format, Open, Reading, Unheld};
use loom_core::{Cpu, Error, Isa, Numerics, State, Storage, Threads, Vectors};

use crate::plain::{name, one_line};
use crate::values::{DtypeArg, dtype, numerics};

/// What is done with checkpoints.
#[derive(Debug, Subcommand)]
pub enum EntityCommand {
    /// Show the topology as a tree, with dtype, scale and bytes of each layer, and totals.
    Inspect {
        /// An `.entity` or a JSON checkpoint.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Read files to the last byte and write them again: one line each, exit status 1 on any error.
    ///
    /// `ok identical`: written again they are the same bytes. `ok rewritten`: the same
    /// network, in other bytes. `error KIND: text`: refused, and why.
    Check {
        /// `.entity` and JSON checkpoints.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Write a checkpoint in another format, dtype or numerics profile.
    Convert(ConvertArgs),
    /// Run a checkpoint on arrays.
    Run(ForwardArgs),
    /// Compare two checkpoints: topology, and the largest difference of each layer's weights.
    /// Exit status 1 when they differ.
    Diff {
        /// The first.
        a: PathBuf,
        /// The second.
        b: PathBuf,
    },
}

/// A conversion.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// What is read.
    input: PathBuf,
    /// What is written; replaced as a whole.
    output: PathBuf,
    /// The format [default: json for a name that ends in .json, otherwise v2].
    #[arg(long, value_enum)]
    to: Option<To>,
    /// Store the weights in this dtype, in any of its names.
    #[arg(long, value_name = "DTYPE", value_parser = dtype)]
    dtype: Option<DtypeArg>,
    /// By this numerics profile: standard or loom [default: standard for v2, otherwise loom].
    #[arg(long, value_name = "PROFILE", value_parser = numerics, requires = "dtype")]
    numerics: Option<Numerics>,
    /// Compress what gets smaller by it; v2 only.
    #[arg(long)]
    zstd: bool,
    /// Leave out what the format has no field for, in place of refusing, and list it.
    #[arg(long)]
    drop: bool,
    /// Read what Loom 0.80 reads, with its defaults for names that are not known.
    #[arg(long)]
    as_loom: bool,
}

/// A format on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// `.entity` version 1, which Loom 0.80 reads.
    V1,
    /// `.entity` version 2.
    V2,
    /// JSON, which Loom 0.80 reads.
    Json,
}

/// A forward.
#[derive(Debug, Args)]
pub struct ForwardArgs {
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
pub enum Backend {
    /// This machine's processor, all cores.
    Cpu,
}

/// What a command has to say, and whether all is well.
pub struct Report {
    /// For standard output.
    pub text: String,
    /// Whether the exit status is 0.
    pub green: bool,
}

impl From<String> for Report {
    fn from(text: String) -> Self {
        Self { text, green: true }
    }
}

/// Does what was asked for.
///
/// # Errors
/// Whatever is wrong with a file, named, in one line: a file or its name may hold line breaks.
pub fn run(command: &EntityCommand, budget: Option<u32>) -> anyhow::Result<Report> {
    let budget = budget.map_or_else(Budget::default, |mib| Budget { bytes: u64::from(mib) << 20, ..Budget::default() });
    dispatch(command, budget).map_err(|error| anyhow::Error::msg(one_line(&format!("{error:#}")).into_owned()))
}

fn dispatch(command: &EntityCommand, budget: Budget) -> anyhow::Result<Report> {
    let strict = Open { budget, ..Open::default() };
    match command {
        EntityCommand::Inspect { file, json } => {
            let (checkpoint, format) = open(file, strict)?;
            let size = std::fs::metadata(file)?.len();
            let seen = inspect::Seen::of(&checkpoint, format, size);
            Ok(if *json { seen.to_json(file) } else { seen.to_text(file) }.into())
        }
        EntityCommand::Check { files } => {
            let lines: Vec<(String, bool)> = files.iter().map(|file| check(file, strict)).collect();
            let green = lines.iter().all(|(_, ok)| *ok);
            Ok(Report { text: lines.into_iter().map(|(line, _)| line + "\n").collect(), green })
        }
        EntityCommand::Convert(args) => convert(args, strict).map(Report::from),
        EntityCommand::Run(args) => forward(args, strict).map(Report::from),
        EntityCommand::Diff { a, b } => {
            let (left, _) = open(a, strict)?;
            let (right, _) = open(b, strict)?;
            diff::diff([a, b], &left, &right)
        }
    }
}

fn open(file: &Path, open: Open) -> anyhow::Result<(Checkpoint, Format)> {
    Checkpoint::open_format(file, open).with_context(|| name(file))
}

/// One line of `check`, and whether it is good.
fn check(file: &Path, open: Open) -> (String, bool) {
    let outcome = (|| {
        let (mut checkpoint, format) = Checkpoint::open_format(file, open)?;
        checkpoint.load()?;
        same::is_same(&checkpoint, format, file)
    })();
    let name = name(file);
    match outcome {
        Ok(true) => (format!("{name}: ok identical"), true),
        Ok(false) => (format!("{name}: ok rewritten"), true),
        Err(Error::Format { fault, place, what }) => {
            (format!("{name}: error {fault}: {}: {}", one_line(&place), one_line(&what)), false)
        }
        Err(other) => (format!("{name}: error config: {}", one_line(&other.to_string())), false),
    }
}

fn convert(args: &ConvertArgs, strict: Open) -> anyhow::Result<String> {
    let reading = if args.as_loom { Reading::Loom } else { Reading::Strict };
    let (mut checkpoint, _) = open(&args.input, Open { reading, ..strict })?;
    let json = args.output.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let format = match (args.to.unwrap_or(if json { To::Json } else { To::V2 }), args.zstd) {
        (To::V2, true) => Format::V2Zstd,
        (To::V2, false) => Format::V2,
        (To::V1, false) => Format::V1,
        (To::Json, false) => Format::Json,
        (_, true) => anyhow::bail!("--zstd is for v2; give --to v2 or leave it out"),
    };
    if let Some(dtype) = args.dtype {
        let dtype = dtype.one().context("--dtype all makes no file; name one dtype")?;
        let own = if format.is_whole() { Numerics::Standard } else { Numerics::Loom };
        let storage = Storage { dtype, numerics: args.numerics.unwrap_or(own), vectors: Vectors::Float32 };
        checkpoint = checkpoint.morphed(&storage).with_context(|| args.input.display().to_string())?;
    }
    checkpoint.check_weights().with_context(|| name(&args.input))?;
    let before = std::fs::metadata(&args.input)?.len();
    let unheld = if args.drop { Unheld::Drop } else { Unheld::Refuse };
    let dropped = if args.drop { checkpoint.unheld(format)? } else { Vec::new() };
    checkpoint.save(&args.output, format, unheld).with_context(|| args.output.display().to_string())?;
    let after = std::fs::metadata(&args.output)?.len();
    let mut text = format!("{}: {format}, {after} bytes (from {before})\n", name(&args.output));
    dropped.iter().for_each(|what| text.push_str(&format!("left out {}\n", one_line(what))));
    Ok(text)
}

fn forward(args: &ForwardArgs, strict: Open) -> anyhow::Result<String> {
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
