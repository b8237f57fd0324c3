//! Faults planted in every fidelity case of every bedrock, dtype and profile: all must be caught.
//! `cargo test --test controls -- --nocapture` prints the rates.

use std::collections::BTreeSet;
use std::path::Path;

use loom_bedrocks::BEDROCKS;
use loom_runner::controls::{Planted, plant, rates};
use loom_runner::cost::Wrong;
use loom_runner::plan::{self, Case, Check, Stored};
use loom_runner::run::Config;
use loom_runner::{golden, manifest};

#[test]
fn every_planted_fault_is_caught_in_every_cell() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifests = manifest::load(&root.join("manifests"), &[]).expect("manifests");
    let fidelity = |case: &Case| case.check() == Check::Fidelity;
    let cases: Vec<Case> = plan::all(&manifests).expect("a plan").into_iter().filter(fidelity).collect();
    let goldens = golden::load(&root.join("golden"), &cases).expect("goldens");
    let cells: BTreeSet<String> = Stored::all().map(|stored| stored.to_string()).collect();
    let mut missed = Vec::new();
    for planted in Planted::ALL {
        let outcomes = plant(&cases, &goldens, &Config::default(), planted, &|_| {}).expect("a run");
        let rates = rates(&outcomes);
        let (caught, of) = rates.values().fold((0, 0), |(c, p), rate| (c + rate.caught, p + rate.planted));
        let shown: usize = rates.values().map(|rate| rate.dtypes.len()).sum();
        println!(
            "{}: {caught} of {of} caught; {shown} of {} cells of bedrock, dtype and profile show it",
            planted.name(),
            BEDROCKS.len() * cells.len()
        );
        for bedrock in BEDROCKS {
            let rate = &rates[bedrock];
            missed.extend(rate.missed.iter().map(|id| format!("{} is green in {id}", planted.name())));
            // Rows of equal weights, as gains in two bits, are the same in any order; turned signs cancel in attention.
            if !matches!(planted, Planted::Kernel(Wrong::Zeros | Wrong::Half) | Planted::Scale) {
                continue;
            }
            missed.extend(
                cells
                    .difference(&rate.dtypes)
                    .map(|cell| format!("{} shows in no model of {bedrock} in {cell}", planted.name())),
            );
        }
    }
    assert!(missed.is_empty(), "{} of the faults are not caught:\n{}", missed.len(), missed.join("\n"));
}
