//! `bedrock entity convert`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use loom_core::format::{Format, OnLoss, Open, Reading};
use loom_core::{Numerics, Storage, Vectors};

use super::open;
use crate::plain::{name, one_line};
use crate::values::{DtypeArg, dtype, numerics};

/// A conversion.
#[derive(Debug, Args)]
pub(super) struct ConvertArgs {
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
enum To {
    /// `.entity` version 1, which Loom 0.80 reads.
    V1,
    /// `.entity` version 2.
    V2,
    /// JSON, which Loom 0.80 reads.
    Json,
}

pub(super) fn convert(args: &ConvertArgs, strict: Open) -> anyhow::Result<String> {
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
    let unheld = if args.drop { OnLoss::Drop } else { OnLoss::Refuse };
    let dropped = if args.drop { checkpoint.unheld(format)? } else { Vec::new() };
    checkpoint.save(&args.output, format, unheld).with_context(|| args.output.display().to_string())?;
    let after = std::fs::metadata(&args.output)?.len();
    let mut text = format!("{}: {format}, {after} bytes (from {before})\n", name(&args.output));
    dropped.iter().for_each(|what| text.push_str(&format!("left out {}\n", one_line(what))));
    Ok(text)
}
