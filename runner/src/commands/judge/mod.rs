//! `bedrock` without a subcommand: chooses cases, runs them in every lane, shows and writes what they showed.

mod lanes;
mod min_cases;
mod show;
mod write;

use std::ops::ControlFlow;

use clap::{Args, ValueEnum};
use loom_core::{Cpu, Isa, Numerics, Threads};

use self::lanes::{LaneRun, Lanes};
use crate::places::{End, Folders, Mistake, Places, complain, first_of, print};
use crate::render::{junit, terminal};
use crate::stages::golden;
use crate::stages::judge::judge;
use crate::stages::manifest::{Manifests, unknown};
use crate::stages::observation::Observation;
use crate::stages::plan::{self, BandSource, Case, Check, Kind, Selection, Tolerance};
use crate::stages::report::{LaneReport, Row};
use crate::stages::run::Config;
use crate::values::{DtypeArg, dtype, numerics};

/// The options of a run.
#[derive(Clone, Debug, Args)]
pub(crate) struct JudgeArgs {
    /// Judge this bedrock only; may be given several times.
    #[arg(long, value_name = "ID")]
    bedrock: Vec<String>,
    /// Judge models whose id matches; may be given several times.
    #[arg(long, value_name = "GLOB")]
    model: Vec<String>,
    /// Judge parity with this planet only; may be given several times.
    #[arg(long, value_name = "ID")]
    planet: Vec<String>,
    /// Run this check only; may be given several times.
    #[arg(long, value_name = "ID")]
    check: Vec<CheckArg>,
    /// Run in this lane only; may be given several times. Without it the CPU and every GPU are
    /// run, and a machine without a GPU is no failure.
    #[arg(long, value_name = "LANE")]
    lane: Vec<LaneArg>,
    /// Use this GPU, by its number or a part of its name in `bedrock gpu list`; may be given
    /// several times.
    #[arg(long, value_name = "GPU")]
    adapter: Vec<String>,
    /// Run cases with weights in this dtype only, in any of its names; may be given several
    /// times. `all` is the default; parity cases are float32.
    #[arg(long, value_name = "DTYPE", value_parser = dtype)]
    dtype: Vec<DtypeArg>,
    /// Run dtype cases of this numerics profile only: standard or loom.
    #[arg(long, value_name = "PROFILE", value_parser = numerics)]
    numerics: Vec<Numerics>,
    /// Run cases whose whole id matches.
    #[arg(long, value_name = "GLOB")]
    filter: Option<String>,
    /// List the ids of the selected cases and stop.
    #[arg(long)]
    list: bool,
    /// Show how one case is resolved, run it, and show its numbers.
    #[arg(long, value_name = "CASE", conflicts_with_all = ["list", "filter"])]
    explain: Option<String>,
    /// What to print on standard output.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    format: Output,
    /// Threads [default: one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Stop after the first red case; nothing is written then.
    #[arg(long)]
    fail_fast: bool,
    /// Run the I-th of N shares of the selected cases.
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<(usize, usize)>,
    /// Instruction set of parity, fidelity and snapshot cases, and of several cores in kernel
    /// cases [default: the best of this processor].
    #[arg(long, value_name = "ISA")]
    isa: Option<Isa>,
    /// Judge parity by this many units in the last place alone; 0 asks for equal numbers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=4096))]
    ulp: Option<u32>,
    /// Write no report.
    #[arg(long)]
    no_report: bool,
    /// Where things lie.
    #[command(flatten)]
    folders: Folders,
}

/// What a run prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table for people.
    Table,
    /// The rows of the report.
    Json,
    /// JUnit XML.
    Junit,
}

/// A lane on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LaneArg {
    /// Every check on the processor.
    Cpu,
    /// The kernel check on GPUs.
    Gpu,
}

/// A check on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CheckArg {
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

impl JudgeArgs {
    /// Whether a lane is to run.
    fn wants(&self, lane: LaneArg) -> bool {
        self.lane.contains(&lane) || (self.lane.is_empty() && (lane == LaneArg::Gpu || self.adapter.is_empty()))
    }

    /// Whether a machine without a GPU is a failure.
    fn needs_gpu(&self) -> bool {
        self.lane.contains(&LaneArg::Gpu) || !self.adapter.is_empty()
    }

    /// `1 of 2` where a share of the selected cases is run.
    fn share(&self) -> Option<String> {
        self.shard.map(|(share, of)| format!("{share} of {of}"))
    }

    /// What was asked for.
    fn selection(&self) -> Selection {
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

/// A text that names no share.
#[derive(Debug, thiserror::Error)]
#[error("expected I/N with 1 ≤ I ≤ N, for example 1/4")]
struct ShardError;

fn shard(text: &str) -> Result<(usize, usize), ShardError> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((i, n)) if 1 <= i && i <= n => Ok((i, n)),
        _ => Err(ShardError),
    }
}

/// Judges what the arguments ask for.
///
/// # Errors
/// A [`Mistake`] of the user, goldens that are not what their index says, reports that cannot be
/// written.
pub(crate) fn run(args: &JudgeArgs) -> anyhow::Result<End> {
    let places = Places::find(&args.folders)?;
    let selection = args.selection();
    let mut bedrocks = args.bedrock.clone();
    if let (Some(id), true) = (&args.explain, bedrocks.is_empty()) {
        bedrocks.extend(id.split('/').next().map(String::from));
    }
    let manifests = places.load(&bedrocks)?;
    let mut planned = plan::all(&manifests).map_err(Mistake::of)?;
    if let Some(ulp) = args.ulp {
        exact_to(&mut planned, ulp);
    }
    let lanes = Lanes::open(args, &selection)?;
    let mut runs = planned_runs(args, &lanes, &manifests, &planned)?;
    if runs.is_empty() && lanes.failures.is_empty() {
        return Err(Mistake("the selection holds no case; `bedrock --list` shows all of them".into()).into());
    }
    if args.list {
        let ids: Vec<&str> = runs.iter().flat_map(|run| run.cases.iter().map(|case| case.id.as_str())).collect();
        print(&ids.join("\n"))?;
        return Ok(End::Green);
    }
    run_lanes(&places, args, &mut runs)?;
    if args.explain.is_some() {
        return show::explained(args, &runs);
    }
    for run in &mut runs {
        if selection.is_whole() && run.rows.len() == run.cases.len() {
            run.failures = min_cases::too_few(&manifests, run.lane.device().is_some(), &run.rows);
        }
    }
    let failures: Vec<&String> = lanes.failures.iter().chain(runs.iter().flat_map(|run| &run.failures)).collect();
    let stopped = runs.iter().any(|run| run.rows.len() < run.cases.len());
    let is_red = |row: &Row| row.label.is_red();
    let red = stopped || !failures.is_empty() || runs.iter().any(|run| run.rows.iter().any(is_red));
    // Before anything is printed: whoever closes standard output loses no row.
    let written = write::reports(&places, args, &runs, selection.is_whole() && args.bedrock.is_empty(), red);
    match args.format {
        Output::Json => {
            for run in &runs {
                print(&LaneReport { share: args.share(), ..run.report() }.to_json())?;
            }
        }
        Output::Junit => {
            let failures: Vec<String> = failures.iter().map(|what| what.to_string()).collect();
            let rows: Vec<Row> = runs.iter().flat_map(|run| run.rows.iter().cloned()).collect();
            print(&junit::junit(&rows, &failures, args.share().as_deref())?)?;
        }
        Output::Table => show::table(args, &runs, &lanes, failures.len())?,
    }
    failures.iter().for_each(|what| complain(&format!("error: {what}")));
    if let Some(why) = written? {
        complain(&format!("no report was written: {why}"));
    }
    Ok(if red { End::Red } else { End::Green })
}

/// What each lane is to do: those that have nothing are left out.
fn planned_runs<'a>(
    args: &JudgeArgs,
    lanes: &'a Lanes,
    manifests: &Manifests,
    planned: &[Case],
) -> anyhow::Result<Vec<LaneRun<'a>>> {
    let selection = args.selection();
    let mut runs = Vec::new();
    let mut known: Vec<String> = Vec::new();
    for lane in &lanes.lanes {
        let mine = lane.plan(manifests, planned).map_err(Mistake::of)?;
        let cases = match &args.explain {
            Some(id) => mine.iter().filter(|case| case.id == *id).cloned().collect(),
            None => plan::select(&mine, &selection).map_err(Mistake::of)?,
        };
        known.extend(mine.into_iter().map(|case| case.id).filter(|_| args.explain.is_some()));
        runs.push(LaneRun { lane, cases, judged: Vec::new(), rows: Vec::new(), failures: Vec::new() });
    }
    runs.retain(|run| !run.cases.is_empty());
    if let Some(id) = args.explain.as_ref().filter(|_| runs.is_empty()) {
        return Err(Mistake::of(unknown("case", id, known.iter().map(String::as_str))).into());
    }
    Ok(runs)
}

/// Replaces every parity band by a number of units in the last place.
fn exact_to(cases: &mut [Case], ulp: u32) {
    for case in cases {
        if let Kind::Parity(tolerance) = &mut case.kind {
            let source = BandSource::Ulps(ulp.into());
            *tolerance = Tolerance { atol: 0.0, rtol: 0.0, nmse: None, source, ..*tolerance };
        }
    }
}

/// Verifies the goldens that the cases need, then runs and judges the cases of every lane.
fn run_lanes(places: &Places, args: &JudgeArgs, runs: &mut [LaneRun<'_>]) -> anyhow::Result<()> {
    let all: Vec<Case> = runs.iter().flat_map(|run| run.cases.iter().cloned()).collect();
    let goldens = golden::load(&places.golden, &all)
        .map_err(|problems| anyhow::anyhow!("{}\nnothing was judged or written", first_of(&problems)))?;
    let isa = args.isa.unwrap_or_else(Isa::best);
    let cpu = Cpu::with(isa, Threads::Single).ok_or_else(|| Mistake(format!("this processor does not have {isa}")))?;
    let config = Config { cpu, jobs: args.jobs.map_or(0, usize::from) };
    let bar = terminal::bar(all.len());
    let seen = |case: &Case, observation: &Observation| {
        bar.inc(1);
        match args.fail_fast && judge(case, observation).label.is_red() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let mut stopped = false;
    for run in runs.iter_mut() {
        if stopped {
            break;
        }
        let observations = run.observe(&goldens, &config, &seen)?;
        for (case, observation) in run.cases.iter().zip(observations) {
            let Some(observation) = observation else { continue };
            let verdict = judge(case, &observation);
            stopped |= args.fail_fast && verdict.label.is_red();
            run.rows.push(Row::new(case, &observation, &verdict));
            run.judged.push((observation, verdict));
        }
    }
    bar.finish_and_clear();
    Ok(())
}
