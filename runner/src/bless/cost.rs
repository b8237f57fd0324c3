//! Accepting what dtypes cost, beside the digests of which they were measured.

use std::path::Path;

use rayon::prelude::*;

use crate::cost;
use crate::stages::bounds::Cost;
use crate::stages::golden::{Core, Costs, Goldens, core_path, cost_path, yaml};
use crate::stages::manifest::Manifest;
use crate::stages::observation::Failure;
use crate::stages::plan::Case;
use crate::stages::run::Config;
use crate::write_atomically;

/// Measures the models of `cases` whose costs are not known, or are of other outputs than the blessed ones,
/// and writes the bedrock's file; returns a line for each dtype whose cost is another. `cases` are the fidelity
/// cases of some of its models; those of other models stay. `measured` is called as dtypes are done.
///
/// # Errors
/// When a model cannot be run, or a file cannot be read or written.
pub(crate) fn costs(
    golden: &Path,
    manifest: &Manifest,
    cases: &[&Case],
    goldens: &Goldens,
    measured: &(dyn Fn() + Sync),
) -> anyhow::Result<Vec<String>> {
    let bedrock = &manifest.bedrock;
    let core: Core = yaml(&core_path(golden, bedrock))?;
    let path = cost_path(golden, bedrock);
    let old: Costs = if path.exists() { yaml(&path)? } else { Costs::default() };
    let found: Vec<Result<Cost, Failure>> = cases
        .par_iter()
        .map(|case| {
            let cost = match old.knows(case, &core) {
                true => Ok(old.models[case.model().id()].costs[&case.stored.to_string()].clone()),
                false => cost::of(case, goldens, &Config::default().cpu),
            };
            measured();
            cost
        })
        .collect();
    let has = |model: &str| manifest.models.iter().any(|known| known.id() == model);
    let mut new = old.clone();
    new.models.retain(|model, _| has(model));
    let mut lines = Vec::new();
    for (case, cost) in cases.iter().zip(found) {
        let (model, stored, cost) = (case.model().id(), case.stored.to_string(), cost?);
        match old.models.get(model).and_then(|of| of.costs.get(&stored)) {
            Some(before) if *before == cost => {}
            Some(before) => lines.push(format!("{bedrock}/{model} {stored}: costs {cost}, before {before}")),
            None => lines.push(format!("{bedrock}/{model} {stored}: costs {cost}")),
        }
        let of = new.models.entry(model.into()).or_default();
        of.of = core.digest(model);
        of.costs.insert(stored, cost);
    }
    if new != old {
        let text = serde_yaml::to_string(&new)?;
        write_atomically(&path, format!("# Written by `bedrock bless --core`; do not edit.\n{text}").as_bytes())?;
    }
    Ok(lines)
}
