//! Faults planted in every fidelity case of every bedrock, dtype and profile: all must be caught. Prints the
//! rate of each fault.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use loom_bedrocks::BEDROCKS;
use loom_runner::stages::bounds::Wrong;
use loom_runner::stages::controls::{Control, plant, rates};
use loom_runner::stages::golden::Goldens;
use loom_runner::stages::plan::{self, Case, Check, Stored};
use loom_runner::stages::run::{Config, to_the_end};
use loom_runner::stages::{golden, manifest};

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let trial = |control: Control| {
        let lines = Arc::clone(&lines);
        Trial::test(format!("every_fault_is_caught/{}", control.name()), move || {
            let (cases, goldens) = fidelity()?;
            let line = caught(&cases, &goldens, control)?;
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            Ok(())
        })
    };
    let end = libtest_mimic::run(&args, Control::ALL.map(trial).into());
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
    end.exit_code()
}

fn fidelity() -> Result<(Vec<Case>, Goldens), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifests = manifest::load(&root.join("manifests"), &[]).map_err(|e| e.to_string())?;
    let is_fidelity = |case: &Case| case.check() == Check::Fidelity;
    let cases: Vec<Case> = plan::all(&manifests).map_err(|e| e.to_string())?.into_iter().filter(is_fidelity).collect();
    let goldens = golden::load(&root.join("golden"), &cases).map_err(|problems| problems.join("\n"))?;
    Ok((cases, goldens))
}

/// The rate of a fault, or where it is not caught.
fn caught(cases: &[Case], goldens: &Goldens, control: Control) -> Result<String, Failed> {
    let cells: BTreeSet<String> = Stored::all().map(|stored| stored.to_string()).collect();
    let outcomes = plant(cases, goldens, &Config { jobs: 1, ..Config::default() }, control, &to_the_end);
    let rates = rates(&outcomes.map_err(|e| e.to_string())?);
    let mut missed = Vec::new();
    let (mut red, mut of, mut shown) = (0, 0, 0);
    for bedrock in BEDROCKS {
        let rate = rates.get(bedrock).ok_or_else(|| format!("no case of {bedrock} ran"))?;
        (red, of, shown) = (red + rate.caught, of + rate.planted, shown + rate.dtypes.len());
        missed.extend(rate.missed.iter().map(|id| format!("{id} is not red")));
        // Rows of equal weights, as gains in two bits, are the same in any order; a vector's rows have one element.
        if !matches!(control, Control::Kernel(Wrong::Rows | Wrong::Columns)) {
            missed
                .extend(cells.difference(&rate.dtypes).map(|cell| format!("no model of {bedrock} in {cell} shows it")));
        }
    }
    if !missed.is_empty() {
        return Err(format!("{} is not caught {} times:\n{}", control.name(), missed.len(), missed.join("\n")).into());
    }
    let cells = BEDROCKS.len() * cells.len();
    Ok(format!(
        "{}: {red} of {of} caught; {shown} of {cells} cells of bedrock, dtype and profile show it",
        control.name()
    ))
}
