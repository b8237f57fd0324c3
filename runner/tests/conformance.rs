//! Every case of the manifests as a test of its own: `cargo test --test conformance`, or
//! under nextest. Names are case ids, so `--exact dense/linear_16_4/parity/jax` runs one.
//!
//! The selected cases are run together when the first of them is asked for: goldens are read
//! and networks built once. There are thousands, so that a green one is a dot unless
//! `--format pretty` is given.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use loom_runner::render;
use loom_runner::stages::judge::{Label, judge};
use loom_runner::stages::observation::Observation;
use loom_runner::stages::plan::{self, Case};
use loom_runner::stages::planted::Faithful;
use loom_runner::stages::run::{Config, to_the_end};
use loom_runner::stages::{golden, manifest, run};

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.quiet |= args.format.is_none();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // An exact name needs only the manifest of its own bedrock.
    let only = match (&args.filter, args.exact) {
        (Some(id), true) => id.split('/').next().map(String::from).into_iter().collect(),
        _ => Vec::new(),
    };
    let cases = manifest::load(&root.join("manifests"), &only)
        .map_err(|e| e.to_string())
        .and_then(|m| plan::all(&m).map_err(|e| e.to_string()));
    let cases = match cases {
        Ok(cases) => cases,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::FAILURE;
        }
    };
    let named = |case: &&Case| match &args.filter {
        Some(filter) if args.exact => case.id == *filter,
        Some(filter) => case.id.contains(filter.as_str()),
        None => true,
    };
    let selected: Arc<Vec<Case>> = Arc::new(cases.iter().filter(named).cloned().collect());
    let seen: Arc<OnceLock<Seen>> = Arc::default();
    let trial = |case: Case| {
        let (selected, seen, golden) = (Arc::clone(&selected), Arc::clone(&seen), root.join("golden"));
        Trial::ignorable_test(case.id.clone(), move || {
            check(&case, seen.get_or_init(|| observe(&golden, &selected)).as_ref().map_err(String::clone)?)
        })
    };
    libtest_mimic::run(&args, cases.into_iter().map(trial).collect()).exit_code()
}

/// What each case showed, by id.
type Seen = Result<HashMap<String, Observation>, String>;

fn observe(folder: &Path, cases: &[Case]) -> Seen {
    let goldens = golden::load(folder, cases).map_err(|problems| problems.join("\n"))?;
    let seen = run::run(cases, &goldens, &Config::default(), &Faithful, &to_the_end).map_err(|e| e.to_string())?;
    Ok(cases.iter().zip(seen).filter_map(|(case, seen)| Some((case.id.clone(), seen?))).collect())
}

fn check(case: &Case, seen: &HashMap<String, Observation>) -> Result<Completion, Failed> {
    let observation = seen.get(&case.id).ok_or("the case did not run")?;
    let verdict = judge(case, observation);
    match verdict.label {
        Label::Skip | Label::Unjudged => Ok(Completion::ignored_with(verdict.reason.unwrap_or_default())),
        label if !label.is_red() => Ok(Completion::Completed),
        _ => Err(render::case::detail(case, observation, &verdict, &format!("bedrock --explain {}", case.id)).into()),
    }
}
