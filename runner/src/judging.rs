//! The default command: chooses cases, runs them in every lane, shows and writes what they showed.

use std::ops::ControlFlow;
use std::path::Path;

use loom_core::{Cpu, Isa, Threads};

use crate::cli::{Format, LaneArg, RunArgs};
use crate::lock::Lock;
use crate::places::{End, Mistake, Places, complain, first_of, print, print_styled};
use crate::render::{self, junit, terminal};
use crate::stages::golden::{self, Goldens};
use crate::stages::judge::{Label, Verdict, judge};
use crate::stages::manifest::{Manifests, unknown};
use crate::stages::observation::Observation;
use crate::stages::plan::{self, BandSource, Case, Check, Device, Kind, Selection, Tolerance};
use crate::stages::planted::Faithful;
use crate::stages::report::{self, LaneReport, Row};
use crate::stages::run;
use crate::stages::run::{Config, Seen};
use crate::write_atomically;

/// The name of the processor's lane.
const CPU: &str = "cpu";

/// Where cases run.
enum Place {
    Cpu,
    #[cfg(feature = "gpu")]
    Gpu(Box<crate::stages::device::Lane>),
}

impl Place {
    fn device(&self) -> Option<&Device> {
        match self {
            Place::Cpu => None,
            #[cfg(feature = "gpu")]
            Place::Gpu(lane) => Some(&lane.device),
        }
    }

    fn name(&self) -> String {
        self.device().map_or(CPU.into(), Device::lane)
    }

    /// What of the CPU's plan runs here.
    fn plan(&self, _manifests: &Manifests, planned: &[Case]) -> Result<Vec<Case>, String> {
        match self {
            Place::Cpu => Ok(planned.to_vec()),
            #[cfg(feature = "gpu")]
            Place::Gpu(lane) => plan::on_device(_manifests, planned, &lane.device),
        }
    }
}

/// The lanes of a call.
struct Lanes {
    places: Vec<Place>,
    /// Why there is no GPU, where that is no failure.
    absent: Option<String>,
    /// GPUs that should have run and cannot.
    failures: Vec<String>,
}

impl Lanes {
    fn open(args: &RunArgs, selection: &Selection) -> anyhow::Result<Self> {
        let mut lanes = Self { places: Vec::new(), absent: None, failures: Vec::new() };
        if args.wants(LaneArg::Cpu) {
            lanes.places.push(Place::Cpu);
        }
        let checks = &selection.checks;
        let kernel = selection.planets.is_empty() && (checks.is_empty() || checks.contains(&Check::Kernel));
        // A case of another check names its own lane.
        let named = args.explain.as_ref().is_none_or(|id| id.contains("/kernel/"));
        if args.wants(LaneArg::Gpu) && kernel && named {
            lanes.open_gpus(args)?;
        }
        Ok(lanes)
    }

    #[cfg(feature = "gpu")]
    fn open_gpus(&mut self, args: &RunArgs) -> anyhow::Result<()> {
        use crate::stages::device::{self, Lane};
        let adapters = match device::chosen(&args.adapter) {
            Ok(adapters) => adapters,
            Err(what) if what != device::ABSENT => return Err(Mistake(what).into()),
            Err(_) => Vec::new(),
        };
        for adapter in &adapters {
            match Lane::open(adapter, device::options()) {
                Ok(lane) => self.places.push(Place::Gpu(Box::new(lane))),
                Err(what) => self.failures.push(format!("gpu-{}: {what}", adapter.slug)),
            }
        }
        if adapters.is_empty() {
            self.without(args, device::ABSENT);
        }
        Ok(())
    }

    #[cfg(not(feature = "gpu"))]
    fn open_gpus(&mut self, args: &RunArgs) -> anyhow::Result<()> {
        self.without(args, "this build has no GPU support; build with the feature gpu");
        Ok(())
    }

    fn without(&mut self, args: &RunArgs, why: &str) {
        match args.needs_gpu() {
            true => self.failures.push(format!("gpu: {why}")),
            false => self.absent = Some(why.into()),
        }
    }
}

/// What one lane is to do, then what it showed.
struct LaneRun<'a> {
    place: &'a Place,
    cases: Vec<Case>,
    judged: Vec<(Observation, Verdict)>,
    rows: Vec<Row>,
    failures: Vec<String>,
}

/// Judges what the arguments ask for.
///
/// # Errors
/// A [`Mistake`] of the user, goldens that are not what their index says, reports that cannot be
/// written.
pub fn judge_all(args: &RunArgs) -> anyhow::Result<End> {
    let places = Places::find(&args.folders)?;
    let selection = args.selection();
    let mut bedrocks = args.bedrock.clone();
    if let (Some(id), true) = (&args.explain, bedrocks.is_empty()) {
        bedrocks.extend(id.split('/').next().map(String::from));
    }
    let manifests = places.load(&bedrocks)?;
    let mut planned = plan::all(&manifests).map_err(Mistake)?;
    if let Some(ulp) = args.ulp {
        exact_to(&mut planned, ulp);
    }
    let lanes = Lanes::open(args, &selection)?;
    let mut runs = Vec::new();
    let mut known: Vec<String> = Vec::new();
    for place in &lanes.places {
        let mine = place.plan(&manifests, &planned).map_err(Mistake)?;
        let cases = match &args.explain {
            Some(id) => mine.iter().filter(|case| case.id == *id).cloned().collect(),
            None => plan::select(&mine, &selection).map_err(Mistake)?,
        };
        known.extend(mine.into_iter().map(|case| case.id).filter(|_| args.explain.is_some()));
        runs.push(LaneRun { place, cases, judged: Vec::new(), rows: Vec::new(), failures: Vec::new() });
    }
    runs.retain(|run| !run.cases.is_empty());
    if let Some(id) = args.explain.as_ref().filter(|_| runs.is_empty()) {
        return Err(Mistake(unknown("case", id, known.iter().map(String::as_str))).into());
    }
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
        return explained(args, &runs);
    }
    for run in &mut runs {
        if selection.is_whole() && run.rows.len() == run.cases.len() {
            run.failures = too_few(&manifests, run.place.device().is_some(), &run.rows);
        }
    }
    let failures: Vec<&String> = lanes.failures.iter().chain(runs.iter().flat_map(|run| &run.failures)).collect();
    let stopped = runs.iter().any(|run| run.rows.len() < run.cases.len());
    let is_red = |row: &Row| row.label.is_red();
    let red = stopped || !failures.is_empty() || runs.iter().any(|run| run.rows.iter().any(is_red));
    let all = || runs.iter().flat_map(|run| run.rows.iter().cloned()).collect::<Vec<Row>>();
    // Before anything is printed: whoever closes standard output loses no row.
    let written = write_reports(&places, args, &runs, selection.is_whole() && args.bedrock.is_empty(), red);
    match args.format {
        Format::Json => {
            for run in &runs {
                print(&LaneReport { share: args.share(), ..run.report() }.to_json())?;
            }
        }
        Format::Junit => {
            let failures: Vec<String> = failures.iter().map(|what| what.to_string()).collect();
            print(&junit::junit(&all(), &failures, args.share().as_deref())?)?;
        }
        Format::Table => show(args, &runs, &lanes, failures.len())?,
    }
    failures.iter().for_each(|what| complain(&format!("error: {what}")));
    if let Some(why) = written? {
        complain(&format!("no report was written: {why}"));
    }
    Ok(if red { End::Red } else { End::Green })
}

impl LaneRun<'_> {
    fn report(&self) -> LaneReport {
        let (lane, device) = (self.place.name(), self.place.device().cloned());
        LaneReport { lane, share: None, device, rows: self.rows.clone() }
    }
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
fn run_lanes(places: &Places, args: &RunArgs, runs: &mut [LaneRun<'_>]) -> anyhow::Result<()> {
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
        let observations = observe(run, &goldens, &config, &seen)?;
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

fn observe(
    run: &LaneRun<'_>,
    goldens: &Goldens,
    config: &Config,
    seen: Seen<'_>,
) -> anyhow::Result<Vec<Option<Observation>>> {
    match run.place {
        Place::Cpu => run::run(&run.cases, goldens, config, &Faithful, seen),
        #[cfg(feature = "gpu")]
        Place::Gpu(lane) => lane.run(&run.cases, goldens, config, seen),
    }
}

/// Red cases that are shown in full; the others get a line.
const SHOWN_IN_FULL: usize = 10;

fn show(args: &RunArgs, runs: &[LaneRun<'_>], lanes: &Lanes, failures: usize) -> anyhow::Result<()> {
    let mut text = String::new();
    for run in runs {
        if let Some(Device { adapter, driver, precision, .. }) = run.place.device() {
            text.push_str(&format!("{}: {adapter}, {driver}, {precision}\n", run.place.name()));
        }
        text.push_str(&terminal::summary(&run.rows, terminal::colour()));
        text.push('\n');
        text.extend(render::distinct(&run.rows).map(|line| line + "\n"));
    }
    print_styled(&text)?;
    let mut text = String::new();
    let all = || runs.iter().flat_map(|run| run.cases.iter().zip(&run.judged));
    let red: Vec<_> = all().filter(|(_, (_, verdict))| verdict.label.is_red()).collect();
    for (case, (observation, verdict)) in red.iter().take(SHOWN_IN_FULL) {
        text.push('\n');
        text.push_str(&render::case::detail(case, observation, verdict, &rerun(args, case)));
    }
    for (case, (_, verdict)) in red.iter().skip(SHOWN_IN_FULL) {
        text.push_str(&format!("{} {}\n", verdict.label.name(), case.id));
    }
    let rows: Vec<Row> = runs.iter().flat_map(|run| run.rows.iter().cloned()).collect();
    for row in rows.iter().filter(|row| matches!(row.label, Label::Skip | Label::Xfail)) {
        text.push_str(&format!("{} {}: {}\n", row.label.name(), row.id, row.reason.as_deref().unwrap_or_default()));
    }
    if let Some(why) = &lanes.absent {
        text.push_str(&format!("SKIP lane gpu: {why}\n"));
    }
    if let Some(share) = args.share() {
        text.push_str(&format!("share {share}: "));
    }
    text.push_str(&terminal::total(&rows, failures));
    print(&text)
}

fn rerun(args: &RunArgs, case: &Case) -> String {
    let ulp = args.ulp.map_or_else(String::new, |ulp| format!(" --ulp {ulp}"));
    format!("cargo run --release -- --explain {}{ulp}", case.id)
}

/// How cases are resolved, and what they showed.
fn explained(args: &RunArgs, runs: &[LaneRun<'_>]) -> anyhow::Result<End> {
    let mut end = End::Green;
    for run in runs {
        for (case, (observation, verdict)) in run.cases.iter().zip(&run.judged) {
            let detail = render::case::detail(case, observation, verdict, &rerun(args, case));
            print(&format!("{}\n{detail}", render::case::explain(case)))?;
            if verdict.label.is_red() {
                end = End::Red;
            }
        }
    }
    Ok(end)
}

/// A sentence for each bedrock and check with fewer executed cases than its manifest promises.
fn too_few(manifests: &Manifests, on_device: bool, rows: &[Row]) -> Vec<String> {
    let mut found = Vec::new();
    for manifest in &manifests.bedrocks {
        let least = &manifest.min_cases;
        let cpu = [
            (Check::Parity, least.parity),
            (Check::Fidelity, least.fidelity),
            (Check::Kernel, least.kernel),
            (Check::Snapshot, least.snapshot),
            (Check::Roundtrip, least.roundtrip),
        ];
        // Version 2 has to hold every network: that is part of the roundtrip case.
        let held = [("json", least.json), ("v1", least.v1)];
        for (format, least) in held.into_iter().filter(|_| !on_device) {
            let bedrock = &manifest.bedrock;
            let holds = rows.iter().filter(|row| row.parts()[0] == *bedrock && row.holds(format)).count();
            if holds < least {
                found.push(format!(
                    "{bedrock}: {format} holds {holds} networks; min_cases of manifests/{bedrock}.yaml asks for {least}"
                ));
            }
        }
        let gpu = [(Check::Kernel, least.gpu)];
        for &(check, least) in if on_device { &gpu[..] } else { &cpu[..] } {
            // What a device cannot do counts: it is explained.
            let ran = |row: &&Row| row.parts()[0] == manifest.bedrock && row.parts()[2] == check.name();
            let ran = rows.iter().filter(ran).count();
            if ran < least {
                let (bedrock, check) = (&manifest.bedrock, check.name());
                found.push(format!(
                    "{bedrock}: {ran} {check} cases ran; min_cases of manifests/{bedrock}.yaml asks for {least}"
                ));
            }
        }
    }
    found
}

/// Writes the reports, or says why not: a case could not be judged, or others than those of the
/// manifests were. A run of everything starts afresh; another one keeps earlier rows of the cases
/// that it did not run. Of several runs at once each waits for the one before.
fn write_reports(
    places: &Places,
    args: &RunArgs,
    runs: &[LaneRun<'_>],
    everything: bool,
    red: bool,
) -> anyhow::Result<Option<&'static str>> {
    let unjudged = runs.iter().flat_map(|run| &run.rows).any(|row| row.label == Label::Error);
    let why_not = match () {
        () if unjudged => Some("a case could not be judged"),
        () if args.fail_fast && red => Some("the run stopped at the first red case"),
        () if args.ulp.is_some() => Some("--ulp replaces the bands"),
        () if args.isa.is_some() => Some("--isa was given"),
        () => None,
    };
    if args.no_report || why_not.is_some() {
        return Ok(why_not.filter(|_| !args.no_report));
    }
    let manifests = places.load(&[])?;
    let planned = plan::all(&manifests).map_err(Mistake)?;
    let _lock = Lock::take(&places.reports)?;
    if let Some(what) = report::stale(&places.reports)? {
        complain(&format!("{what}; this run renders it"));
    }
    for run in runs {
        let lane = run.place.name();
        let planned = run.place.plan(&manifests, &planned).map_err(Mistake)?;
        let earlier = if everything { None } else { report::read(&places.reports, &lane)? };
        let report = run.report().merged(earlier, &planned);
        write_atomically(&report::path(&places.reports, &lane), report.to_json().as_bytes())?;
    }
    // A machine that runs a GPU lane alone has no report of the CPU to render beside it.
    if !runs.is_empty() && report::path(&places.reports, CPU).is_file() {
        write_progress(&places.reports, &manifests)?;
    }
    Ok(None)
}

/// Renders PROGRESS.md from the reports that are there. The caller holds the folder's [`Lock`].
///
/// # Errors
/// A [`Mistake`] when the CPU's is not there; reports that cannot be read or written.
pub fn write_progress(reports: &Path, manifests: &Manifests) -> anyhow::Result<()> {
    let missing = || Mistake(format!("{} is not there; run `bedrock` first", report::path(reports, CPU).display()));
    let cpu = report::read(reports, CPU)?.ok_or_else(missing)?;
    // Other machines' lanes may be older than the manifests: what they no longer ask for is left out.
    let planned = plan::all(manifests).map_err(Mistake)?;
    let current = |lane: LaneReport| -> anyhow::Result<Option<LaneReport>> {
        let Some(device) = &lane.device else { return Ok(None) };
        let device = std::sync::Arc::new(device.clone());
        Ok(Some(lane.merged(None, &plan::on_device(manifests, &planned, &device).map_err(Mistake)?)))
    };
    let devices = report::devices(reports)?.into_iter().filter_map(|lane| current(lane).transpose());
    let text = render::markdown::progress(&cpu, &devices.collect::<anyhow::Result<Vec<_>>>()?, &manifests.bedrocks);
    let text = format!("{}\n{text}", report::stamp(reports)?);
    write_atomically(&reports.join("PROGRESS.md"), text.as_bytes())
}
