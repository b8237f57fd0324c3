//! What storing weights in a dtype costs a model's output, measured over many seeds.
//!
//! Rounding moves each weight w by an error e. Part of it follows the weights (truncation and rounding
//! to 0 shrink them alike): `m + b (w - mean w)`, the least squares line of e over a store. The rest is
//! as good as random in sign. So a seed is the same network with weights `w + line ± rest`, each sign
//! drawn; it has the errors that the type really makes, at their places, but not the luck of their
//! signs. The largest NMSE of [`SEEDS`] such outputs is what the dtype costs this model, and what is
//! really stored may cost [`MARGIN`] times that. The weights of seeds are float64, so that errors far
//! below f32's digits count.
//!
//! A bound that also lets other networks pass says nothing. Where the stored weights set to zero, turned
//! in sign, halved, or in another order would meet it, the cost is *not judged*; the
//! type then costs about as much as the output is worth.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use loom_core::{Cpu, Network, Result, Role, State, Tensor, WeightStore};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::stages::compare::compare;
use crate::stages::golden::{Core, Goldens, core_path, yaml};
use crate::stages::manifest::Manifest;
use crate::stages::plan::{Case, Tolerance};
use crate::stages::run::Config;
use crate::write_atomically;

/// How many seeds are measured.
pub const SEEDS: u64 = 64;

/// How far what is stored may be beyond the worst seed, as NMSE.
pub const MARGIN: f64 = 2.0;

/// The NMSE of outputs that each differ by their last f32 digit: nothing below is judged.
pub const FLOOR: f64 = f32::EPSILON as f64 * f32::EPSILON as f64;

/// A network that no bound may let pass: the stored weights, changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// All 0.
    Zeros,
    /// Every sign turned.
    Signs,
    /// Half of each weight.
    Half,
    /// The rows of each matrix, or the elements of each vector, from last to first.
    Rows,
    /// The elements of each row moved by one.
    Columns,
}

impl Wrong {
    /// Every one.
    pub const ALL: [Wrong; 5] = [Wrong::Zeros, Wrong::Signs, Wrong::Half, Wrong::Rows, Wrong::Columns];

    /// The name in files and texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Wrong::Zeros => "zeros",
            Wrong::Signs => "signs",
            Wrong::Half => "half",
            Wrong::Rows => "rows",
            Wrong::Columns => "columns",
        }
    }

    /// Changes the weights of a store of that shape, in row-major order.
    #[must_use]
    pub fn of(self, shape: &[usize], weights: &[f64]) -> Vec<f64> {
        let n = weights.len();
        let row = shape.iter().skip(1).product::<usize>().max(1);
        let rows = n / row;
        match self {
            Wrong::Zeros => vec![0.0; n],
            Wrong::Signs => weights.iter().map(|w| -w).collect(),
            Wrong::Half => weights.iter().map(|w| 0.5 * w).collect(),
            Wrong::Rows => (0..n).map(|i| weights[(rows - 1 - i / row) * row + i % row]).collect(),
            Wrong::Columns => (0..n).map(|i| weights[i / row * row + (i % row + 1) % row]).collect(),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the seeds of one model in one dtype showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cost {
    /// The largest NMSE of all seeds.
    pub seen: f64,
    /// The wrong networks that would meet the bound.
    pub met: Vec<Wrong>,
}

impl Cost {
    /// The largest NMSE that passes; none where a wrong network would meet it.
    #[must_use]
    pub fn bound(&self) -> Option<f64> {
        self.met.is_empty().then_some(self.limit())
    }

    fn limit(&self) -> f64 {
        (MARGIN * self.seen).max(FLOOR)
    }
}

/// `2.41e-7`, or `1.32e0 meets zeros, half`.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3e}", self.seen)?;
        for (i, wrong) in self.met.iter().enumerate() {
            write!(f, "{} {wrong}", if i == 0 { " meets" } else { "," })?;
        }
        Ok(())
    }
}

impl From<Cost> for String {
    fn from(cost: Cost) -> String {
        cost.to_string()
    }
}

impl TryFrom<String> for Cost {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Cost {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let bad =
            || format!("{text:?} is no cost; expected an NMSE, or an NMSE and `meets` with names of wrong networks");
        let (seen, met) = text.split_once(" meets ").unwrap_or((text, ""));
        let seen: f64 = seen.parse().map_err(|_| bad())?;
        let named = |name: &str| Wrong::ALL.into_iter().find(|wrong| wrong.name() == name).ok_or_else(bad);
        let met = met.split(", ").filter(|name| !name.is_empty()).map(named).collect::<std::result::Result<_, _>>()?;
        if seen.is_finite() && seen >= 0.0 { Ok(Cost { seen, met }) } else { Err(bad()) }
    }
}

/// `golden/<bedrock>/cost.yaml`: what the seeds showed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// By model.
    pub models: BTreeMap<String, ModelCosts>,
}

/// The costs of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCosts {
    /// A digest of the model's blessed digests: of other outputs these costs say nothing.
    pub of: String,
    /// By `dtype/numerics`.
    pub costs: BTreeMap<String, Cost>,
}

impl Costs {
    /// Whether a case was measured, for the outputs that `core` has.
    #[must_use]
    pub fn knows(&self, case: &Case, core: &Core) -> bool {
        let of = self.models.get(case.model().id());
        of.is_some_and(|of| of.of == digest(core, case.model().id()) && of.costs.contains_key(&case.stored.to_string()))
    }
}

fn digest(core: &Core, model: &str) -> String {
    let digests = core.digests.get(model).into_iter().flatten();
    let text: String = digests.map(|(stored, digest)| format!("{stored} {digest}\n")).collect();
    let mut digest = loom_bedrocks::npz::sha256(text.as_bytes());
    digest.truncate(16);
    digest
}

/// Where a bedrock's costs lie.
#[must_use]
pub fn path(golden: &Path, bedrock: &str) -> PathBuf {
    golden.join(bedrock).join("cost.yaml")
}

/// Measures the models of `cases` whose costs are not known, or are of other outputs than the blessed ones,
/// and writes the bedrock's file; returns a line for each dtype whose cost is another. `cases` are the fidelity
/// cases of some of its models; those of other models stay. `measured` is called as dtypes are done.
///
/// # Errors
/// When a model cannot be run, or a file cannot be read or written.
pub fn bless(
    golden: &Path,
    manifest: &Manifest,
    cases: &[&Case],
    goldens: &Goldens,
    measured: &(dyn Fn() + Sync),
) -> anyhow::Result<Vec<String>> {
    let bedrock = &manifest.bedrock;
    let core: Core = yaml(&core_path(golden, bedrock)).map_err(anyhow::Error::msg)?;
    let path = path(golden, bedrock);
    let old: Costs = if path.exists() { yaml(&path).map_err(anyhow::Error::msg)? } else { Costs::default() };
    let found: Vec<std::result::Result<Cost, String>> = cases
        .par_iter()
        .map(|case| {
            let cost = match old.knows(case, &core) {
                true => Ok(old.models[case.model().id()].costs[&case.stored.to_string()].clone()),
                false => crate::stages::run::cost(case, goldens, &Config::default().cpu),
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
        let (model, stored, cost) = (case.model().id(), case.stored.to_string(), cost.map_err(anyhow::Error::msg)?);
        match old.models.get(model).and_then(|of| of.costs.get(&stored)) {
            Some(before) if *before == cost => {}
            Some(before) => lines.push(format!("{bedrock}/{model} {stored}: costs {cost}, before {before}")),
            None => lines.push(format!("{bedrock}/{model} {stored}: costs {cost}")),
        }
        let of = new.models.entry(model.into()).or_default();
        of.of = digest(&core, model);
        of.costs.insert(stored, cost);
    }
    if new != old {
        let text = serde_yaml::to_string(&new)?;
        write_atomically(&path, format!("# Written by `bedrock bless --core`; do not edit.\n{text}").as_bytes())?;
    }
    Ok(lines)
}

/// Measures what `stored` costs beside `plain`, whose output for `inputs` is `expected`.
///
/// # Errors
/// When a changed network cannot be run: none of them for one that was built.
pub fn measure(plain: &Network, stored: &Network, inputs: &[Tensor], expected: &Tensor, cpu: &Cpu) -> Result<Cost> {
    let run = |network: Network| network.run(inputs, &mut State::default(), cpu);
    let nmse = |a: &Tensor, b: &Tensor| {
        let c = compare(a.shape(), a.data(), b.data(), None, &Tolerance::EXACT);
        // Against an output of zeros every error is too large.
        if c.nonfinite.is_some() || c.nmse.is_nan() { f64::INFINITY } else { c.nmse }
    };
    let pairs: BTreeMap<(&str, Role), Errors> = plain
        .stores()
        .into_iter()
        .zip(stored.stores())
        .map(|((path, role, plain), (_, _, stored))| ((path, role), Errors::of(plain, stored)))
        .collect();
    let changed = |change: &mut dyn FnMut(&Errors) -> Vec<f64>| {
        plain.with_weights(&mut |layer| {
            let mut weights = layer.weights().clone();
            for (role, store) in &mut weights {
                if let Some(errors) = pairs.get(&(layer.path(), *role)).filter(|errors| errors.any) {
                    *store = WeightStore::f64(errors.shape.clone(), change(errors))?;
                }
            }
            Ok(weights)
        })
    };
    if pairs.values().all(|errors| !errors.any) {
        return Ok(Cost { seen: 0.0, met: Vec::new() });
    }
    let mut cost = Cost { seen: 0.0, met: Vec::new() };
    for seed in 0..SEEDS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let y = run(changed(&mut |errors| errors.drawn(&mut random))?)?;
        cost.seen = cost.seen.max(nmse(&y, expected));
    }
    // What cannot be written is beyond every bound all the same.
    cost.seen = cost.seen.min(f64::MAX);
    for wrong in Wrong::ALL {
        let as_stored = run(changed(&mut |errors| wrong.of(&errors.shape, &errors.stored))?)?;
        let in_f32 = run(changed(&mut |errors| wrong.of(&errors.shape, &errors.weights))?)?;
        // A change that the model does not show in f32 either, as of weights that a norm scales again, is none.
        if nmse(&as_stored, expected) <= cost.limit() && nmse(&in_f32, expected) > crate::stages::judge::DECODED {
            cost.met.push(wrong);
        }
    }
    Ok(cost)
}

/// The errors of one store.
struct Errors {
    shape: Vec<usize>,
    any: bool,
    weights: Vec<f64>,
    stored: Vec<f64>,
    /// The weights with what of the errors follows them.
    line: Vec<f64>,
    /// What is left of the errors.
    rest: Vec<f64>,
}

impl Errors {
    fn of(plain: &WeightStore, stored: &WeightStore) -> Self {
        let (weights, stored_weights): (Vec<f64>, Vec<f64>) = (plain.iter().collect(), stored.iter().collect());
        let n = weights.len().max(1) as f64;
        let errors: Vec<f64> = stored_weights.iter().zip(&weights).map(|(q, w)| q - w).collect();
        let mean = |values: &[f64]| values.iter().fold(0.0, |sum, v| sum + v) / n;
        let (mean_error, mean_weight) = (mean(&errors), mean(&weights));
        let (mut joint, mut spread) = (0.0, 0.0);
        for (e, w) in errors.iter().zip(&weights) {
            joint += (e - mean_error) * (w - mean_weight);
            spread += (w - mean_weight) * (w - mean_weight);
        }
        let slope = if spread > 0.0 { joint / spread } else { 0.0 };
        let follows = |w: f64| mean_error + slope * (w - mean_weight);
        Self {
            shape: plain.shape().to_vec(),
            any: errors.iter().any(|e| *e != 0.0),
            line: weights.iter().map(|&w| w + follows(w)).collect(),
            rest: errors.iter().zip(&weights).map(|(e, &w)| e - follows(w)).collect(),
            stored: stored_weights,
            weights,
        }
    }

    fn drawn(&self, random: &mut Random) -> Vec<f64> {
        let sign = |random: &mut Random| if random.bits() >> 63 == 0 { 1.0 } else { -1.0 };
        self.line.iter().zip(&self.rest).map(|(line, rest)| line + sign(random) * rest).collect()
    }
}

/// A splitmix64 stream.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_as_text() {
        for text in ["2.410e-7", "0.000e0", "1.320e0 meets zeros, half"] {
            assert_eq!(text.parse::<Cost>().expect("a cost").to_string(), text);
        }
        for text in ["", "NaN", "-1e0", "inf", "1e0 meets nothing", "1e0 zeros"] {
            assert!(text.parse::<Cost>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bound_that_zeros_meet_is_none() {
        let cost = |text: &str| text.parse::<Cost>().expect("a cost").bound();
        assert_eq!(cost("2.000e-7"), Some(4e-7));
        assert_eq!(cost("0.000e0"), Some(FLOOR));
        assert_eq!(cost("6.000e-1 meets zeros"), None);
    }

    #[test]
    fn wrong_networks_differ_from_the_right_one() {
        let weights: Vec<f64> = (1..=6).map(f64::from).collect();
        for wrong in Wrong::ALL {
            let changed = wrong.of(&[2, 3], &weights);
            assert_eq!(changed.len(), 6);
            assert_ne!(changed, weights, "{wrong}");
        }
    }
}
