//! Every case of the manifests as a test of its own: `cargo test --test conformance`, or
//! under nextest. Names are case ids, so `--exact dense/linear_16_4/parity/jax` runs one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use loom_runner::judge::{Label, judge};
use loom_runner::plan::{self, Case};
use loom_runner::run::{Config, Faithful};
use loom_runner::{golden, manifest, run, terminal};

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // An exact name needs only the manifest of its own bedrock.
    let only = match (&args.filter, args.exact) {
        (Some(id), true) => id.split('/').next().map(String::from).into_iter().collect(),
        _ => Vec::new(),
    };
    let cases = manifest::load(&root.join("manifests"), &only).map_err(|e| e.to_string()).and_then(|m| plan::all(&m));
    let cases = match cases {
        Ok(cases) => cases,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::FAILURE;
        }
    };
    let trial = |case: Case| {
        let golden: PathBuf = root.join("golden");
        Trial::ignorable_test(case.id.clone(), move || check(&golden, &case))
    };
    libtest_mimic::run(&args, cases.into_iter().map(trial).collect()).exit_code()
}

fn check(folder: &Path, case: &Case) -> Result<Completion, Failed> {
    let cases = std::slice::from_ref(case);
    let goldens = golden::load(folder, cases).map_err(|problems| problems.join("\n"))?;
    let config = Config { jobs: 1, ..Config::default() };
    let mut observations = run::run(cases, &goldens, &config, &Faithful, &|_| {}).map_err(|e| e.to_string())?;
    let observation = observations.pop().flatten().ok_or("the case did not run")?;
    let verdict = judge(case, &observation);
    match verdict.label {
        Label::Skip => Ok(Completion::ignored_with(verdict.reason.unwrap_or_default())),
        label if label.is_green() => Ok(Completion::Completed),
        _ => Err(terminal::detail(case, &observation, &verdict, &format!("bedrock --explain {}", case.id)).into()),
    }
}
