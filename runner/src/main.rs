//! `bedrock`: the command line over the stages of the library.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{CommandFactory as _, Parser as _};
use loom_bedrocks::BEDROCKS;
use loom_bedrocks::planets::PLANETS;
use loom_core::{Cpu, Isa, Threads};
use loom_runner::cli::{Bench, Cli, Command, Folders, Format, PythonArgs, RunArgs};
use loom_runner::judge::{Label, Observation, Verdict, judge};
use loom_runner::manifest::{self, Manifest, Manifests, unknown};
use loom_runner::plan::{self, BandSource, Case, Check, Kind, Tolerance};
use loom_runner::report::{self, LaneReport, Row};
use loom_runner::run::{Config, Faithful};
use loom_runner::sizes::{self, Lucy};
use loom_runner::{bench, bless, entity, golden, render, run, terminal, write_atomically};

/// The lane of this build.
const LANE: &str = "cpu";

/// How a call ended, where it did not go wrong.
enum End {
    Green,
    Red,
}

/// A mistake of the user: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Mistake(String);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let end = match cli.command {
        None => judge_all(&cli.run),
        Some(command) => dispatch(command),
    };
    match end {
        Ok(End::Green) => ExitCode::SUCCESS,
        Ok(End::Red) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<Mistake>() { 2 } else { 1 })
        }
    }
}

/// Prints to standard output. A reader that goes away, as `head` does, changes no verdict.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// The folders of a call, found.
struct Places {
    root: PathBuf,
    manifests: PathBuf,
    golden: PathBuf,
    reports: PathBuf,
}

impl Places {
    /// Folders that are not named belong to the nearest project at or above the working folder.
    fn find(folders: &Folders) -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("the working folder is gone")?;
        let root = here.ancestors().find(|folder| folder.join("manifests/_defaults.yaml").is_file());
        let root = match (root, &folders.manifests, &folders.golden) {
            (Some(root), ..) => root.to_path_buf(),
            (None, Some(_), Some(_)) => here,
            _ => bail!(Mistake(format!(
                "no manifests/_defaults.yaml in {} or above it; go to the project, or give --manifests and --golden",
                here.display()
            ))),
        };
        // Paths in messages are relative where the call is made in the project itself.
        let root = if root == std::path::absolute(".").unwrap_or_default() { PathBuf::new() } else { root };
        let or = |folder: &Option<PathBuf>, name: &str| folder.clone().unwrap_or_else(|| root.join(name));
        Ok(Self {
            manifests: or(&folders.manifests, "manifests"),
            golden: or(&folders.golden, "golden"),
            reports: or(&folders.reports, "reports"),
            root,
        })
    }

    fn load(&self, bedrocks: &[String]) -> anyhow::Result<Manifests> {
        if let Some(id) = bedrocks.iter().find(|id| !BEDROCKS.contains(&id.as_str())) {
            bail!(Mistake(unknown("bedrock", id, BEDROCKS.into_iter())));
        }
        manifest::load(&self.manifests, bedrocks).map_err(|e| Mistake(e.to_string()).into())
    }
}

fn judge_all(args: &RunArgs) -> anyhow::Result<End> {
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
    if let Some(id) = &args.explain {
        return explain(&places, args, &planned, id);
    }
    let cases = plan::select(&planned, &selection).map_err(Mistake)?;
    if args.list {
        let ids: Vec<&str> = cases.iter().map(|case| case.id.as_str()).collect();
        print(&ids.join("\n"))?;
        return Ok(End::Green);
    }
    let judged = judge_cases(&places, args, &cases)?;
    let rows: Vec<Row> =
        judged.iter().map(|(case, observation, verdict)| Row::new(case, observation, verdict)).collect();
    let stopped = rows.len() < cases.len();
    let failures = if selection.is_whole() && !stopped { too_few(&manifests, &rows) } else { Vec::new() };
    let red = stopped || !failures.is_empty() || rows.iter().any(|row| !row.label.is_green());
    match args.format {
        Format::Json => print(&LaneReport { lane: LANE.into(), rows: rows.clone() }.to_json())?,
        Format::Junit => print(&terminal::junit(&rows, &failures)?)?,
        Format::Table => show(args, &judged, &rows, failures.len())?,
    }
    failures.iter().for_each(|what| eprintln!("error: {what}"));
    let unjudged = rows.iter().any(|row| row.label == Label::Error);
    let why_not = match () {
        () if unjudged => Some("a case could not be judged"),
        () if args.fail_fast && red => Some("the run stopped at the first red case"),
        () if args.ulp.is_some() => Some("--ulp replaces the bands"),
        () if args.isa.is_some() => Some("--isa was given"),
        () => None,
    };
    match why_not {
        _ if args.no_report => {}
        Some(why) => eprintln!("no report was written: {why}"),
        None => write_report(&places, rows, selection.is_whole() && args.bedrock.is_empty())?,
    }
    Ok(if red { End::Red } else { End::Green })
}

/// Replaces every parity band by a number of units in the last place.
fn exact_to(cases: &mut [Case], ulp: u32) {
    for case in cases {
        if let Kind::Parity(tolerance) = &mut case.kind {
            let rtol = f64::from(ulp) * f64::from(f32::EPSILON);
            *tolerance = Tolerance { atol: 0.0, rtol, nmse: None, source: BandSource::CommandLine, ..*tolerance };
        }
    }
}

type Judged<'a> = Vec<(&'a Case, Observation, Verdict)>;

/// Verifies the goldens that the cases need, then runs and judges them.
fn judge_cases<'a>(places: &Places, args: &RunArgs, cases: &'a [Case]) -> anyhow::Result<Judged<'a>> {
    let goldens = golden::load(&places.golden, cases)
        .map_err(|problems| anyhow::anyhow!("{}\nnothing was judged or written", first_of(&problems)))?;
    let isa = args.isa.unwrap_or_else(Isa::best);
    let cpu = Cpu::with(isa, Threads::Single).ok_or_else(|| Mistake(format!("this processor does not have {isa}")))?;
    let config = Config { cpu, jobs: args.jobs.map_or(0, usize::from), fail_fast: args.fail_fast };
    let bar = terminal::bar(cases.len());
    let observations = run::run(cases, &goldens, &config, &Faithful, &|n| bar.inc(n as u64))?;
    bar.finish_and_clear();
    let judged = cases.iter().zip(observations).filter_map(|(case, observation)| {
        let observation = observation?;
        let verdict = judge(case, &observation);
        Some((case, observation, verdict))
    });
    Ok(judged.collect())
}

/// Red cases that are shown in full; the others get a line.
const SHOWN_IN_FULL: usize = 10;

fn show(args: &RunArgs, judged: &Judged<'_>, rows: &[Row], failures: usize) -> anyhow::Result<()> {
    let mut text = terminal::summary(rows, terminal::colour());
    text.push('\n');
    let red: Vec<_> = judged.iter().filter(|(.., verdict)| !verdict.label.is_green()).collect();
    for (case, observation, verdict) in red.iter().take(SHOWN_IN_FULL) {
        text.push('\n');
        text.push_str(&terminal::detail(case, observation, verdict, &rerun(args, case)));
    }
    for (case, _, verdict) in red.iter().skip(SHOWN_IN_FULL) {
        text.push_str(&format!("{} {}\n", verdict.label.name(), case.id));
    }
    for row in rows.iter().filter(|row| matches!(row.label, Label::Skip | Label::Xfail)) {
        text.push_str(&format!("{} {}: {}\n", row.label.name(), row.id, row.reason.as_deref().unwrap_or_default()));
    }
    text.push_str(&terminal::total(rows, failures));
    print(&text)
}

fn rerun(args: &RunArgs, case: &Case) -> String {
    let ulp = args.ulp.map_or_else(String::new, |ulp| format!(" --ulp {ulp}"));
    format!("cargo run --release -- --explain {}{ulp}", case.id)
}

fn explain(places: &Places, args: &RunArgs, planned: &[Case], id: &str) -> anyhow::Result<End> {
    let ids = || planned.iter().map(|case| case.id.as_str());
    let case = planned.iter().find(|case| case.id == id).ok_or_else(|| Mistake(unknown("case", id, ids())))?;
    let mut text = terminal::explain(case);
    let judged = judge_cases(places, args, std::slice::from_ref(case))?;
    for (case, observation, verdict) in &judged {
        text.push('\n');
        text.push_str(&terminal::detail(case, observation, verdict, &rerun(args, case)));
    }
    print(&text)?;
    let green = judged.iter().all(|(.., verdict)| verdict.label.is_green());
    Ok(if green { End::Green } else { End::Red })
}

/// A sentence for each bedrock and check with fewer executed cases than its manifest promises.
fn too_few(manifests: &Manifests, rows: &[Row]) -> Vec<String> {
    let mut found = Vec::new();
    for manifest in &manifests.bedrocks {
        let least = [
            (Check::Parity, manifest.min_cases.parity),
            (Check::Fidelity, manifest.min_cases.fidelity),
            (Check::Kernel, manifest.min_cases.kernel),
            (Check::Snapshot, manifest.min_cases.snapshot),
            (Check::Roundtrip, manifest.min_cases.roundtrip),
        ];
        for (check, least) in least {
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

/// Writes the report. A run of everything starts afresh; another one keeps earlier rows of
/// the cases that it did not run.
fn write_report(places: &Places, rows: Vec<Row>, everything: bool) -> anyhow::Result<()> {
    let manifests = places.load(&[])?;
    let planned = plan::all(&manifests).map_err(Mistake)?;
    let earlier = if everything { None } else { report::read(&places.reports, LANE)? };
    let report = LaneReport { lane: LANE.into(), rows }.merged(earlier, &planned);
    write_atomically(&report::path(&places.reports, LANE), report.to_json().as_bytes())?;
    write_progress(&places.reports, &report, &manifests.bedrocks)
}

fn write_progress(reports: &Path, report: &LaneReport, manifests: &[Manifest]) -> anyhow::Result<()> {
    write_atomically(&reports.join("PROGRESS.md"), render::progress(report, manifests).as_bytes())
}

fn dispatch(command: Command) -> anyhow::Result<End> {
    match command {
        Command::Verify { folders } => {
            let places = Places::find(&folders)?;
            let cases = plan::all(&places.load(&[])?).map_err(Mistake)?;
            let needed = golden::needed(&cases);
            let mut problems = golden::load(&places.golden, &cases).err().unwrap_or_default();
            problems.extend(golden::strays(&places.golden, &BEDROCKS, &needed));
            if !problems.is_empty() {
                bail!("{}", problems.join("\n"));
            }
            print(&format!("{} golden files are what their indexes say", needed.len()))?;
            Ok(End::Green)
        }
        Command::Bless { bedrocks, planet, core, accept, python, folders } => {
            let places = Places::find(&folders)?;
            let manifests = places.load(&bedrocks)?;
            if accept.trim().is_empty() {
                bail!(Mistake("--accept needs a reason".into()));
            }
            if core {
                return bless_core(&places, &manifests, &accept);
            }
            each_dump(&places, &manifests, &planet, &python, |manifest, planet, dumped| {
                print_lines(&bless::drift(&places.golden, manifest, planet, &python.model, dumped)?)?;
                bless::accept(&places.golden, manifest, planet, &python.model, dumped, &accept)
            })?;
            Ok(End::Green)
        }
        Command::Drift { bedrocks, planet, python, folders } => {
            let places = Places::find(&folders)?;
            let manifests = places.load(&bedrocks)?;
            let mut drifted = 0;
            each_dump(&places, &manifests, &planet, &python, |manifest, planet, dumped| {
                let lines = bless::drift(&places.golden, manifest, planet, &python.model, dumped)?;
                drifted += lines.len();
                print_lines(&lines)
            })?;
            print(&format!("{drifted} array{} drifted", if drifted == 1 { "" } else { "s" }))?;
            Ok(if drifted == 0 { End::Green } else { End::Red })
        }
        Command::Bench { what: Bench::Kernels { dtype, threads, pairs, vector, squares, python } } => {
            let plan = bench::Plan {
                dtypes: dtype.iter().filter_map(|dtype| dtype.one()).collect(),
                threads: threads.into(),
                pairs: pairs.into(),
                vector: vector.into(),
                squares: squares.into_iter().map(usize::from).collect(),
            };
            let script = Places::find(&Folders { manifests: None, golden: None, reports: None })?;
            let script = script.root.join("python/bench/rivals.py");
            print(&bench::kernels(&plan, python.as_deref(), &script)?)?;
            Ok(End::Green)
        }
        Command::Entity { what } => {
            let report = entity::run(&what)?;
            print(&report.text)?;
            Ok(if report.green { End::Green } else { End::Red })
        }
        Command::Bench { what: Bench::Io { layers, size, pairs, folder, python, job } } => {
            let shm = Path::new("/dev/shm");
            let default = || if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
            let plan = bench::io::Plan {
                layers: layers.into(),
                size: size.into(),
                pairs: pairs.into(),
                folder: folder.unwrap_or_else(default),
            };
            let text = match job {
                Some(job) => bench::io::job(&plan, &job)?,
                None => {
                    let root = Places::find(&Folders { manifests: None, golden: None, reports: None })?.root;
                    bench::io::io(&plan, python.as_deref(), &root.join("python/bench/checkpoints.py"))?
                }
            };
            print(&text)?;
            Ok(End::Green)
        }
        Command::Render { folders } => {
            let places = Places::find(&folders)?;
            let manifests = places.load(&[])?;
            let report = report::read(&places.reports, LANE)?;
            let missing = || {
                Mistake(format!("{} is not there; run `bedrock` first", report::path(&places.reports, LANE).display()))
            };
            write_progress(&places.reports, &report.ok_or_else(missing)?, &manifests.bedrocks)?;
            Ok(End::Green)
        }
        Command::Sizes { folders } => {
            let places = Places::find(&folders)?;
            let lucy = Lucy::load(&places.manifests).map_err(Mistake)?;
            let bar = terminal::bar(lucy.suites.len() * lucy.dtypes.len());
            let sizes = sizes::measure(&lucy, &|| bar.inc(1)).map_err(anyhow::Error::msg)?;
            bar.finish_and_clear();
            let path = places.reports.join("sizes.md");
            write_atomically(&path, sizes::render(&lucy, &sizes).as_bytes())?;
            let rows = sizes.iter().map(Vec::len).sum::<usize>();
            print(&format!("{}: {} stacks, {rows} rows", path.display(), sizes.len()))?;
            Ok(End::Green)
        }
        Command::Schema => {
            print(&manifest::schema())?;
            Ok(End::Green)
        }
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "bedrock", &mut out);
            print(&String::from_utf8_lossy(&out))?;
            Ok(End::Green)
        }
        Command::Man => {
            let mut out = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut out)?;
            print(&String::from_utf8_lossy(&out))?;
            Ok(End::Green)
        }
    }
}

/// The first problems, and how many more there are.
fn first_of(problems: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = problems.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n");
    if problems.len() > SHOWN {
        text.push_str(&format!("\n… and {} more; `bedrock verify` lists them all", problems.len() - SHOWN));
    }
    text
}

fn print_lines(lines: &[String]) -> anyhow::Result<()> {
    if lines.is_empty() { Ok(()) } else { print(&lines.join("\n")) }
}

/// Dumps each planet, or takes the dump that was named, and hands every bedrock to `each`.
fn each_dump(
    places: &Places,
    manifests: &Manifests,
    planets: &[String],
    python: &PythonArgs,
    mut each: impl FnMut(&Manifest, &str, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let known = || PLANETS.iter().map(|p| p.id).chain(["fixture"]);
    if let Some(planet) = planets.iter().find(|planet| !known().any(|id| id == *planet)) {
        bail!(Mistake(unknown("planet", planet, known())));
    }
    for planet in planets {
        let has = |m: &&Manifest| !bless::files(m, planet, &python.model).is_empty();
        let bedrocks: Vec<&Manifest> = manifests.bedrocks.iter().filter(has).collect();
        if bedrocks.is_empty() {
            bail!(Mistake(format!("{planet} has no model of these bedrocks")));
        }
        if let Some(from) = python.from.as_ref().filter(|from| !from.is_dir()) {
            bail!(Mistake(format!("--from {}: no such folder", from.display())));
        }
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let dumped = match &python.from {
            Some(from) => from,
            None => {
                bless::dump(
                    &python.python,
                    &places.root.join("python"),
                    &places.manifests,
                    planet,
                    &bedrocks,
                    &python.model,
                    folder.path(),
                )?;
                folder.path()
            }
        };
        for manifest in bedrocks {
            each(manifest, planet, dumped)?;
        }
    }
    Ok(())
}

fn bless_core(places: &Places, manifests: &Manifests, why: &str) -> anyhow::Result<End> {
    let cases = plan::all(manifests).map_err(Mistake)?;
    // The digests are what is about to change, so only the arrays they come from are verified:
    // those of the first planet of each model, as the kernel check uses.
    let arrays: Vec<Case> = cases.iter().filter(|case| case.check() == Check::Kernel).cloned().collect();
    let goldens = golden::load(&places.golden, &arrays).map_err(|problems| anyhow::anyhow!(first_of(&problems)))?;
    let mut changed = 0;
    for manifest in &manifests.bedrocks {
        let lines = bless::core(&places.golden, &cases, &goldens, &manifest.bedrock, why)?;
        changed += lines.len();
        print_lines(&lines)?;
    }
    print(&format!("{changed} digests changed"))?;
    Ok(End::Green)
}
