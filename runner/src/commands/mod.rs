//! The command line: a file for each command, with its arguments, their help, and what it does.
//! Completions and the man page are made of it too.

mod bench;
mod bless;
mod completions;
mod drift;
mod dump;
mod entity;
#[cfg(feature = "gpu")]
mod gpu;
mod judge;
mod man;
mod render;
mod schema;
mod sizes;
mod stream;
mod verify;

use clap::{Parser, Subcommand};

use crate::places::End;

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
    command: Option<Command>,
    /// The options of a run.
    #[command(flatten)]
    judge: judge::JudgeArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
enum Command {
    Verify(verify::VerifyArgs),
    Bless(bless::BlessArgs),
    Drift(drift::DriftArgs),
    #[cfg(feature = "gpu")]
    Gpu(gpu::GpuArgs),
    Stream(stream::StreamCallArgs),
    Entity(entity::EntityArgs),
    Bench(bench::BenchArgs),
    Render(render::RenderArgs),
    Sizes(sizes::SizesArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// What the command says; a [`Mistake`](crate::places::Mistake) where the call is at fault.
    pub fn run(self) -> anyhow::Result<End> {
        let Some(command) = self.command else { return judge::run(&self.judge) };
        match command {
            Command::Verify(args) => verify::run(&args),
            Command::Bless(args) => bless::run(&args),
            Command::Drift(args) => drift::run(&args),
            #[cfg(feature = "gpu")]
            Command::Gpu(args) => gpu::run(&args),
            Command::Stream(args) => stream::run(&args),
            Command::Entity(args) => entity::run(&args),
            Command::Bench(args) => bench::run(args),
            Command::Render(args) => render::run(&args),
            Command::Sizes(args) => sizes::run(&args),
            Command::Schema(_) => schema::run(),
            Command::Completions(args) => completions::run(&args),
            Command::Man(_) => man::run(),
        }
    }
}
