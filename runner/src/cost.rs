//! What storing weights in a dtype costs a model's output, measured over many seeds.
//!
//! Rounding moves each weight w by an error e. Part of it follows the weights (truncation and rounding
//! to 0 shrink them alike): `m + b (w - mean w)`, the least squares line of e over a store. The rest is
//! as good as random in sign. So a seed is the same network with weights `w + line ± rest`, each sign
//! drawn; it has the errors that the type really makes, at their places, but not the luck of their
//! signs. The largest NMSE of [`SEEDS`] such outputs is what the dtype costs this model, and what is
//! really stored may cost [`MARGIN`](crate::stages::bounds::MARGIN) times that. The weights of seeds are float64, so that errors far
//! below f32's digits count.
//!
//! A bound that also lets other networks pass says nothing. Where the stored weights set to zero, turned
//! in sign, halved, or in another order would meet it, the cost is *not judged*; the
//! type then costs about as much as the output is worth.

use std::collections::BTreeMap;

use loom_core::{Cpu, Network, Role, SplitMix64, State, Tensor, WeightStore};

use crate::stages::bounds::{Cost, DECODED, SEEDS, Wrong};
use crate::stages::compare::compare;
use crate::stages::golden::Goldens;
use crate::stages::observation::Failure;
use crate::stages::plan::{Case, Tolerance};
use crate::stages::planted::Faithful;
use crate::stages::run::{inputs, network};

/// Measures what a case's dtype costs its model.
///
/// # Errors
/// The sentence that an ERROR case would show.
pub(crate) fn of(case: &Case, goldens: &Goldens, cpu: &Cpu) -> Result<Cost, Failure> {
    let plain = network(case, goldens, &Faithful)?;
    let stored = plain.morph(&case.storage())?;
    let inputs = inputs(case, goldens)?;
    let expected = plain.run(&inputs, &mut State::default(), cpu)?;
    Ok(measure(&plain, &stored, &inputs, &expected, cpu)?)
}

/// Measures what `stored` costs beside `plain`, whose output for `inputs` is `expected`.
///
/// # Errors
/// When a changed network cannot be run: none of them for one that was built.
fn measure(
    plain: &Network,
    stored: &Network,
    inputs: &[Tensor],
    expected: &Tensor,
    cpu: &Cpu,
) -> loom_core::Result<Cost> {
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
        let mut random = SplitMix64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let y = run(changed(&mut |errors| errors.drawn(&mut random))?)?;
        cost.seen = cost.seen.max(nmse(&y, expected));
    }
    // What cannot be written is beyond every bound all the same.
    cost.seen = cost.seen.min(f64::MAX);
    for wrong in Wrong::ALL {
        let as_stored = run(changed(&mut |errors| wrong.of(&errors.shape, &errors.stored))?)?;
        let in_f32 = run(changed(&mut |errors| wrong.of(&errors.shape, &errors.weights))?)?;
        // A change that the model does not show in f32 either, as of weights that a norm scales again, is none.
        if nmse(&as_stored, expected) <= cost.limit() && nmse(&in_f32, expected) > DECODED {
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

    fn drawn(&self, random: &mut SplitMix64) -> Vec<f64> {
        let sign = |random: &mut SplitMix64| if random.bits() >> 63 == 0 { 1.0 } else { -1.0 };
        self.line.iter().zip(&self.rest).map(|(line, rest)| line + sign(random) * rest).collect()
    }
}
