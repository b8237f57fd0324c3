//! `bedrock`: the command line over the stages of the library.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{CommandFactory as _, Parser as _};
use loom_bedrocks::BEDROCKS;
use loom_bedrocks::planets::PLANETS;
use loom_runner::cli::{Bench, Cli, Command, Folders, PythonArgs};
use loom_runner::judging::{self, write_progress};
use loom_runner::lock::Lock;
use loom_runner::places::{End, Mistake, Places, complain, first_of, print, print_lines};
use loom_runner::render::{self, terminal};
use loom_runner::sizes;
use loom_runner::stages::manifest::lucy::Lucy;
use loom_runner::stages::manifest::{self, Manifest, Manifests, unknown};
use loom_runner::stages::plan::{self, Case, Check};
use loom_runner::stages::{golden, report};
use loom_runner::{bench, bless, ending, entity, stream, write_atomically};

fn main() -> ExitCode {
    ending::prepare();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return told(&usage),
    };
    let end = match cli.command {
        None => judging::judge_all(&cli.run),
        Some(command) => dispatch(command),
    };
    match end {
        Ok(End::Green) => ExitCode::SUCCESS,
        Ok(End::Red) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::from(if error.is::<Mistake>() { 2 } else { 1 })
        }
    }
}

/// Prints help, or what is wrong with a call.
fn told(usage: &clap::Error) -> ExitCode {
    match usage.print() {
        _ if usage.use_stderr() => ExitCode::from(2),
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn dispatch(command: Command) -> anyhow::Result<End> {
    match command {
        Command::Verify { folders } => {
            let places = Places::find(&folders)?;
            let cases = plan::all(&places.load(&[])?).map_err(Mistake)?;
            let needed = golden::needed(&cases);
            let mut problems = golden::load(&places.golden, &cases).err().unwrap_or_default();
            problems.extend(golden::strays(&places.golden, &BEDROCKS, &needed));
            problems.extend(report::stale(&places.reports)?.map(|what| format!("{what}; render it: bedrock render")));
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
                return bless_core(&places, &manifests, &python.model, &accept);
            }
            // Everything is dumped, read and checked before anything is written.
            let mut ready = Vec::new();
            each_dump(&places, &manifests, &planet, &python, false, |manifest, planet, dumped| {
                print_lines(&bless::drift(&places.golden, manifest, planet, &python.model, dumped)?)?;
                ready.push(bless::ready(manifest, planet, &python.model, dumped, &accept)?);
                Ok(())
            })?;
            let _lock = Lock::take(&places.golden)?;
            ready.into_iter().try_for_each(|ready| ready.accept(&places.golden))?;
            Ok(End::Green)
        }
        Command::Drift { bedrocks, planet, python, folders } => {
            let places = Places::find(&folders)?;
            let manifests = places.load(&bedrocks)?;
            let mut drifted = 0;
            each_dump(&places, &manifests, &planet, &python, true, |manifest, planet, dumped| {
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
        #[cfg(feature = "gpu")]
        Command::Gpu { what } => {
            use loom_runner::cli::GpuCommand;
            use loom_runner::stages::device::{self, Lane};
            match what {
                GpuCommand::List => print(&device::list(&device::chosen(&[]).map_err(Mistake)?))?,
                GpuCommand::Probe { adapters } => {
                    let adapters = device::chosen(&adapters).map_err(Mistake)?;
                    let probe = |adapter| device::probe(adapter, &Lane::open(adapter, device::options()));
                    match adapters.is_empty() {
                        true => print(device::ABSENT)?,
                        false => print(&adapters.iter().map(probe).collect::<Vec<_>>().join("\n"))?,
                    }
                }
            }
            Ok(End::Green)
        }
        #[cfg(feature = "gpu")]
        Command::Bench { what: Bench::Gpu { adapter, vector, square, pairs, lane, python } } => {
            use loom_runner::stages::device::{self, Lane};
            let wanted: Vec<String> = adapter.into_iter().collect();
            let adapters = device::chosen(&wanted).map_err(Mistake)?;
            let adapter = adapters.first().ok_or_else(|| Mistake(device::ABSENT.into()))?;
            let [vector, square, pairs] = [vector, square, pairs].map(usize::from);
            if !vector.is_multiple_of(128) || !square.is_multiple_of(64) {
                bail!(Mistake("--vector must be a multiple of 128, --square of 64".into()));
            }
            let places = Places::find(&Folders { manifests: None, golden: None, reports: None })?;
            let text = if lane {
                let manifests = places.load(&[])?;
                let planned = plan::all(&manifests).map_err(Mistake)?;
                let goldens = golden::load(&places.golden, &planned).map_err(|p| anyhow::anyhow!(first_of(&p)))?;
                let lane = Lane::open(adapter, device::options()).map_err(anyhow::Error::msg)?;
                bench::gpu::lane(&lane, &planned, &manifests, &goldens)?
            } else {
                let plan = bench::gpu::Plan { vector, square, pairs };
                bench::gpu::products(&plan, adapter, python.as_deref(), &places.root.join("python/bench/gpu.py"))?
            };
            print(&text)?;
            Ok(End::Green)
        }
        Command::Stream(args) => Ok(if stream::run(&args, args.opener()) { End::Green } else { End::Red }),
        Command::Entity { what, budget } => {
            let report = entity::run(&what, budget)?;
            print(&report.text)?;
            Ok(if report.green { End::Green } else { End::Red })
        }
        Command::Bench { what: Bench::Stream { job: Some(program), .. } } => {
            print(&bench::stream::job(&program)?)?;
            Ok(End::Green)
        }
        Command::Bench { what: Bench::Stream { original, program, pairs, job: None } } => {
            let root = Places::find(&Folders { manifests: None, golden: None, reports: None })?;
            let absolute = |path: PathBuf| path.canonicalize().with_context(|| path.display().to_string());
            let beside =
                || Ok(std::env::current_exe()?.with_file_name(format!("loom-stream{}", std::env::consts::EXE_SUFFIX)));
            let plan = bench::stream::Plan {
                vectors: root.golden.join("loom-0.80/stream"),
                ours: program.map_or_else(beside, absolute)?,
                original: original.map(absolute).transpose()?,
                pairs: pairs.into(),
            };
            print(&bench::stream::stream(&plan)?)?;
            Ok(End::Green)
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
            let _lock = Lock::take(&places.reports)?;
            write_progress(&places.reports, &manifests)?;
            Ok(End::Green)
        }
        Command::Sizes { folders } => {
            let places = Places::find(&folders)?;
            let lucy = Lucy::load(&places.manifests).map_err(Mistake)?;
            let bar = terminal::bar(lucy.suites.len() * lucy.dtypes.len());
            let sizes = sizes::measure(&lucy, &|| bar.inc(1)).map_err(anyhow::Error::msg)?;
            bar.finish_and_clear();
            let path = places.reports.join("sizes.md");
            write_atomically(&path, render::sizes::render(&lucy, &sizes).as_bytes())?;
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

/// Dumps each planet, or takes the dump that was named, and hands every bedrock to `each`.
fn each_dump(
    places: &Places,
    manifests: &Manifests,
    planets: &[String],
    python: &PythonArgs,
    any_version: bool,
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
        let folder = ending::Scratch::new().context("cannot make a temporary folder")?;
        let dumped = match &python.from {
            Some(from) => from,
            None => {
                let dump = bless::Dump {
                    python: &python.python,
                    package: &places.root.join("python"),
                    manifests: &places.manifests,
                    planet,
                    bedrocks: &bedrocks,
                    models: &python.model,
                    any_version,
                };
                dump.run(folder.path())?;
                folder.path()
            }
        };
        for manifest in bedrocks {
            each(manifest, planet, dumped)?;
        }
    }
    Ok(())
}

fn bless_core(places: &Places, manifests: &Manifests, models: &glob::Pattern, why: &str) -> anyhow::Result<End> {
    let cases = plan::all(manifests).map_err(Mistake)?;
    // The digests are what is about to change, so only the arrays they come from are verified:
    // those of the first planet of each model, as the kernel check uses.
    let has = |case: &&Case| case.check() == Check::Kernel && models.matches(case.model().id());
    let arrays: Vec<Case> = cases.iter().filter(has).cloned().collect();
    if arrays.is_empty() {
        bail!(Mistake(format!("no model of these bedrocks matches {:?}", models.as_str())));
    }
    let goldens = golden::load(&places.golden, &arrays).map_err(|problems| anyhow::anyhow!(first_of(&problems)))?;
    let (mut changed, mut recosted) = (0, 0);
    for manifest in &manifests.bedrocks {
        let _lock = Lock::take(&places.golden)?;
        let mut lines = bless::core(&places.golden, &cases, &goldens, manifest, models, why)?;
        changed += lines.len();
        let fidelity: Vec<&Case> = cases
            .iter()
            .filter(|case| case.check() == Check::Fidelity && case.manifest.bedrock == manifest.bedrock)
            .filter(|case| models.matches(case.model().id()))
            .collect();
        let bar = terminal::bar(fidelity.len());
        let costs = bless::costs(&places.golden, manifest, &fidelity, &goldens, &|| bar.inc(1))?;
        bar.finish_and_clear();
        recosted += costs.len();
        lines.extend(costs);
        print_lines(&lines)?;
    }
    print(&format!("{changed} digests changed, {recosted} costs"))?;
    Ok(End::Green)
}
