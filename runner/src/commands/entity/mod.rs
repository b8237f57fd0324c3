//! `bedrock entity`: checkpoints looked at, checked, converted, run and compared.

mod array;
mod convert;
mod diff;
mod forward;
mod inspect;
mod same;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use loom_core::Error;
use loom_core::format::{Budget, Checkpoint, Format, Open};

use crate::places::{End, print};
use crate::plain::{name, one_line};

/// Checkpoints: inspect, check, convert, run and compare `.entity` and JSON files.
#[derive(Debug, Args)]
pub(crate) struct EntityArgs {
    /// Let a file that is trusted describe this much memory beside its weights, in MiB [default: 64,
    /// and 64 times its size].
    #[arg(long, value_name = "MIB", global = true)]
    budget: Option<u32>,
    /// What to do.
    #[command(subcommand)]
    what: EntityCommand,
}

/// What is done with checkpoints.
#[derive(Debug, Subcommand)]
enum EntityCommand {
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
    Convert(convert::ConvertArgs),
    /// Run a checkpoint on arrays.
    Run(forward::ForwardArgs),
    /// Compare two checkpoints: topology, and the largest difference of each layer's weights.
    /// Exit status 1 when they differ.
    Diff {
        /// The first.
        a: PathBuf,
        /// The second.
        b: PathBuf,
    },
}

/// An error is one line: a file or its name may hold line breaks.
pub(crate) fn run(args: &EntityArgs) -> anyhow::Result<End> {
    let bytes = |mib: u32| Budget { bytes: u64::from(mib) << 20, ..Budget::default() };
    let budget = args.budget.map_or_else(Budget::default, bytes);
    let done = dispatch(&args.what, budget);
    let (text, end) = done.map_err(|error| anyhow::Error::msg(one_line(&format!("{error:#}")).into_owned()))?;
    print(&text)?;
    Ok(end)
}

/// What a command has to say, and how it ended.
fn dispatch(command: &EntityCommand, budget: Budget) -> anyhow::Result<(String, End)> {
    let strict = Open { budget, ..Open::default() };
    match command {
        EntityCommand::Inspect { file, json } => {
            let (checkpoint, format) = open(file, strict)?;
            let size = std::fs::metadata(file)?.len();
            let seen = inspect::Seen::of(&checkpoint, format, size);
            Ok((if *json { seen.to_json(file) } else { seen.to_text(file) }, End::Green))
        }
        EntityCommand::Check { files } => {
            let lines: Vec<(String, bool)> = files.iter().map(|file| check(file, strict)).collect();
            let end = if lines.iter().all(|(_, ok)| *ok) { End::Green } else { End::Red };
            Ok((lines.into_iter().map(|(line, _)| line + "\n").collect(), end))
        }
        EntityCommand::Convert(args) => Ok((convert::convert(args, strict)?, End::Green)),
        EntityCommand::Run(args) => Ok((forward::forward(args, strict)?, End::Green)),
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
