//! The command line, from which completions and the man page are made too.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use loom_core::{Isa, Numerics};

use crate::entity::EntityCommand;
use crate::stages::plan::{Check, Selection};
use crate::values::{DtypeArg, dtype, numerics};

/// Proves that neural networks mean the same thing in every AI runtime.
///
/// Without a subcommand: judges the models of the manifests against what the planets
/// computed, in every dtype against themselves in f32, and on every GPU against the CPU; shows
/// tables, and writes `reports/cpu.json`, `reports/gpu-<adapter>.json` and `reports/PROGRESS.md`. A run of some
/// cases replaces their rows alone; with --ulp or --isa, or when a case could not be judged,
/// nothing is written.
/// Exit status: 0 green, 1 red, 2 a mistake in the call or in a manifest.
#[derive(Debug, Parser)]
#[command(name = "bedrock", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
pub struct Cli {
    /// A subcommand; running the checks is the default.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of a run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Where things lie.
#[derive(Clone, Debug, Args)]
pub struct Folders {
    /// Folder of manifests [default: manifests of the nearest project above].
    #[arg(long, value_name = "DIR", global = true)]
    pub manifests: Option<PathBuf>,
    /// Folder of goldens [default: golden of the same project].
    #[arg(long, value_name = "DIR", global = true)]
    pub golden: Option<PathBuf>,
    /// Folder of reports [default: reports of the same project].
    #[arg(long, value_name = "DIR", global = true)]
    pub reports: Option<PathBuf>,
}

/// The options of a run.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Judge this bedrock only; may be given several times.
    #[arg(long, value_name = "ID")]
    pub bedrock: Vec<String>,
    /// Judge models whose id matches; may be given several times.
    #[arg(long, value_name = "GLOB")]
    pub model: Vec<String>,
    /// Judge parity with this planet only; may be given several times.
    #[arg(long, value_name = "ID")]
    pub planet: Vec<String>,
    /// Run this check only; may be given several times.
    #[arg(long, value_name = "ID")]
    pub check: Vec<CheckArg>,
    /// Run in this lane only; may be given several times. Without it the CPU and every GPU are
    /// run, and a machine without a GPU is no failure.
    #[arg(long, value_name = "LANE")]
    pub lane: Vec<LaneArg>,
    /// Use this GPU, by its number or a part of its name in `bedrock gpu list`; may be given
    /// several times.
    #[arg(long, value_name = "GPU")]
    pub adapter: Vec<String>,
    /// Run cases with weights in this dtype only, in any of its names; may be given several
    /// times. `all` is the default; parity cases are float32.
    #[arg(long, value_name = "DTYPE", value_parser = dtype)]
    pub dtype: Vec<DtypeArg>,
    /// Run dtype cases of this numerics profile only: standard or loom.
    #[arg(long, value_name = "PROFILE", value_parser = numerics)]
    pub numerics: Vec<Numerics>,
    /// Run cases whose whole id matches.
    #[arg(long, value_name = "GLOB")]
    pub filter: Option<String>,
    /// List the ids of the selected cases and stop.
    #[arg(long)]
    pub list: bool,
    /// Show how one case is resolved, run it, and show its numbers.
    #[arg(long, value_name = "CASE", conflicts_with_all = ["list", "filter"])]
    pub explain: Option<String>,
    /// What to print on standard output.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Threads [default: one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Stop after the first red case; nothing is written then.
    #[arg(long)]
    pub fail_fast: bool,
    /// Run the I-th of N shares of the selected cases.
    #[arg(long, value_name = "I/N", value_parser = shard)]
    pub shard: Option<(usize, usize)>,
    /// Instruction set of parity, fidelity and snapshot cases, and of several cores in kernel
    /// cases [default: the best of this processor].
    #[arg(long, value_name = "ISA")]
    pub isa: Option<Isa>,
    /// Judge parity by this many units in the last place alone; 0 asks for equal numbers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=4096))]
    pub ulp: Option<u32>,
    /// Write no report.
    #[arg(long)]
    pub no_report: bool,
    /// Where things lie.
    #[command(flatten)]
    pub folders: Folders,
}

/// What a run prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people.
    Table,
    /// The rows of the report.
    Json,
    /// JUnit XML.
    Junit,
}

/// A lane on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LaneArg {
    /// Every check on the processor.
    Cpu,
    /// The kernel check on GPUs.
    Gpu,
}

/// A check on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckArg {
    /// Planet against our CPU.
    Parity,
    /// Weights in a dtype against f32.
    Fidelity,
    /// Fast paths against the scalar single core.
    Kernel,
    /// Our bits against the blessed digest.
    Snapshot,
    /// Checkpoints in every format against the network they were made of.
    Roundtrip,
}

impl From<CheckArg> for Check {
    fn from(check: CheckArg) -> Self {
        match check {
            CheckArg::Parity => Check::Parity,
            CheckArg::Fidelity => Check::Fidelity,
            CheckArg::Kernel => Check::Kernel,
            CheckArg::Snapshot => Check::Snapshot,
            CheckArg::Roundtrip => Check::Roundtrip,
        }
    }
}

/// Which models are dumped, and how.
#[derive(Clone, Debug, Args)]
pub struct PythonArgs {
    /// The Python that has the planets installed.
    #[arg(long, value_name = "FILE", env = "BEDROCK_PYTHON", default_value = "python3")]
    pub python: PathBuf,
    /// Only the models whose id matches.
    #[arg(long, value_name = "GLOB", default_value = "*")]
    pub model: glob::Pattern,
    /// Use a dump that `python -m planetbridging.dump` made elsewhere.
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check every golden file against its index, without Python.
    Verify {
        /// Where things lie.
        #[command(flatten)]
        folders: Folders,
    },
    /// Dump planets anew, show what changed, and accept it; the only way goldens change.
    Bless {
        /// Bedrocks; all when absent.
        bedrocks: Vec<String>,
        /// A planet, or `fixture` for the input arrays; may be given several times.
        #[arg(long, value_name = "ID", required_unless_present = "core")]
        planet: Vec<String>,
        /// Bless the digests of our own outputs instead.
        #[arg(long, conflicts_with_all = ["planet", "from"])]
        core: bool,
        /// Why the new numbers are right; kept in the index.
        #[arg(long, value_name = "WHY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
        accept: String,
        /// How Python is run.
        #[command(flatten)]
        python: PythonArgs,
        /// Where things lie.
        #[command(flatten)]
        folders: Folders,
    },
    /// Dump planets into a temporary folder and compare with the goldens; changes nothing.
    Drift {
        /// Bedrocks; all when absent.
        bedrocks: Vec<String>,
        /// A planet, or `fixture`; may be given several times.
        #[arg(long, value_name = "ID", required = true)]
        planet: Vec<String>,
        /// How Python is run.
        #[command(flatten)]
        python: PythonArgs,
        /// Where things lie.
        #[command(flatten)]
        folders: Folders,
    },
    /// The GPUs of this machine, and what they make of single operations.
    #[cfg(feature = "gpu")]
    Gpu {
        /// What to do.
        #[command(subcommand)]
        what: GpuCommand,
    },
    /// Make an `.entity` of a live model and run it, as `loom-stream` does.
    ///
    /// Reads one JSON document from standard input: the envelope with the layer stream of a bedrock.
    /// With --npz, weights are arrays in a file and the manifest says what they belong to.
    Stream(crate::stream::StreamArgs),
    /// Checkpoints: inspect, check, convert, run and compare `.entity` and JSON files.
    Entity {
        /// Let a file that is trusted describe this much memory beside its weights, in MiB [default: 64,
        /// and 64 times its size].
        #[arg(long, value_name = "MIB", global = true)]
        budget: Option<u32>,
        /// What to do.
        #[command(subcommand)]
        what: EntityCommand,
    },
    /// Measure speed; judges nothing and writes nothing.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        what: Bench,
    },
    /// Render PROGRESS.md from the reports that are there.
    Render {
        /// Where things lie.
        #[command(flatten)]
        folders: Folders,
    },
    /// Build the stacks of lucy.yaml in every dtype and write reports/sizes.md: what they take in
    /// memory and in every checkpoint format.
    Sizes {
        /// Where things lie.
        #[command(flatten)]
        folders: Folders,
    },
    /// Print the JSON Schema of the manifests.
    Schema,
    /// Print shell completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the man page.
    Man,
}

/// What `bedrock gpu` shows.
#[cfg(feature = "gpu")]
#[derive(Debug, Subcommand)]
pub enum GpuCommand {
    /// List the adapters.
    List,
    /// Open adapters and measure their arithmetic; all of them where none is named.
    Probe {
        /// Numbers or parts of names in `bedrock gpu list`.
        adapters: Vec<String>,
    },
}

/// What `bedrock bench` measures.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Saving and loading checkpoints beside the crate safetensors and the original runtime
    /// (welvet) where a Python that has it is given; and the memory that saving takes.
    Io {
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
    },
    /// What a call of loom-stream costs on the recorded requests and on large layers, beside the
    /// original's binary where it is given.
    Stream {
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
    },
    /// Products with packed weights on a GPU beside its copy bandwidth, plain f32 kernels and PyTorch
    /// where a Python that has it is given; what pipelines cost to make.
    #[cfg(feature = "gpu")]
    Gpu {
        /// The GPU, by its number or a part of its name in `bedrock gpu list` [default: the first].
        #[arg(long, value_name = "GPU")]
        adapter: Option<String>,
        /// Extent of the matrices that a single row meets: a multiple of 128.
        #[arg(long, value_name = "N", default_value_t = 8192, value_parser = clap::value_parser!(u16).range(128..=16384))]
        vector: u16,
        /// Extent of the square matrices: a multiple of 64.
        #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u16).range(64..=8192))]
        square: u16,
        /// Timed pairs of each measurement.
        #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
        pairs: u16,
        /// Show what each bedrock costs in each dtype instead.
        #[arg(long)]
        lane: bool,
        /// The Python that has PyTorch installed; without it ours stand alone.
        #[arg(long, value_name = "FILE", env = "BEDROCK_PYTHON")]
        python: Option<PathBuf>,
    },
    /// The matrix kernel in every dtype, beside NumPy, PyTorch and the original runtime
    /// (welvet) where a Python that has them is given.
    Kernels {
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
    },
}

impl RunArgs {
    /// Whether a lane is to run.
    #[must_use]
    pub fn wants(&self, lane: LaneArg) -> bool {
        self.lane.contains(&lane) || (self.lane.is_empty() && (lane == LaneArg::Gpu || self.adapter.is_empty()))
    }

    /// Whether a machine without a GPU is a failure.
    #[must_use]
    pub fn needs_gpu(&self) -> bool {
        self.lane.contains(&LaneArg::Gpu) || !self.adapter.is_empty()
    }

    /// `1 of 2` where a share of the selected cases is run.
    #[must_use]
    pub fn share(&self) -> Option<String> {
        self.shard.map(|(share, of)| format!("{share} of {of}"))
    }

    /// What was asked for.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection {
            bedrocks: self.bedrock.clone(),
            models: self.model.clone(),
            planets: self.planet.clone(),
            checks: self.check.iter().map(|&check| check.into()).collect(),
            dtypes: match self.dtype.contains(&DtypeArg::All) {
                true => Vec::new(),
                false => self.dtype.iter().filter_map(|dtype| dtype.one()).collect(),
            },
            numerics: self.numerics.clone(),
            filter: self.filter.clone(),
            shard: self.shard,
        }
    }
}

fn shard(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((i, n)) if 1 <= i && i <= n => Ok((i, n)),
        _ => Err("expected I/N with 1 ≤ I ≤ N, for example 1/4".into()),
    }
}
