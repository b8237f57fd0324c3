//! Negative controls of the dtypes: known faults are planted in every fidelity case, and each must turn
//! it red. What the judge cannot see here it cannot see anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use loom_core::{Affine, Cpu, Dtype, Network, Result, Scales, State, Tensor, WeightStore};

use super::bounds::Wrong;
use super::golden::Goldens;
use super::judge::judge;
use super::observation::Observation;
use super::plan::{Case, Check};
use super::planted::Planted;
use super::run::{Config, Seen, run};

/// A fault of the dtypes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The kernel computes with other weights than those that are stored.
    Kernel(Wrong),
    /// Weights are stored by a scale that is a thousand times too large; those of types without a scale at twice
    /// their size.
    Scale,
}

impl Control {
    /// Every fault, in the order of the table.
    pub const ALL: [Control; 6] = [
        Control::Kernel(Wrong::Zeros),
        Control::Kernel(Wrong::Signs),
        Control::Kernel(Wrong::Half),
        Control::Kernel(Wrong::Rows),
        Control::Kernel(Wrong::Columns),
        Control::Scale,
    ];

    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Control::Kernel(wrong) => wrong.name(),
            Control::Scale => "scale",
        }
    }
}

/// What became of one fault in one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// The case is red.
    Caught,
    /// The case is not red although another output was computed, or other weights are stored.
    Missed,
    /// The fault changes nothing: not one bit of the output, and nothing that is stored.
    Without,
}

/// Plants a fault in the fidelity cases among `cases` and says what became of each, in their order. `seen` is
/// called as cases finish.
///
/// # Errors
/// When the thread pools cannot be made; when a case did not run.
pub fn plant(
    cases: &[Case],
    goldens: &Goldens,
    config: &Config,
    control: Control,
    seen: Seen<'_>,
) -> anyhow::Result<Vec<(Case, Detection)>> {
    let cases: Vec<Case> = cases.iter().filter(|case| case.check() == Check::Fidelity).cloned().collect();
    let fault = Plant { control, changed: Mutex::default() };
    let observed = run(&cases, goldens, config, &fault, seen)?;
    let changed = fault.changed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let outcome = |(case, seen): (Case, Option<Observation>)| {
        let seen = seen.with_context(|| format!("{} did not run", case.id))?;
        let outcome = match (judge(&case, &seen).label.is_red(), changed.contains(&case.id)) {
            (true, _) => Detection::Caught,
            (false, true) => Detection::Missed,
            (false, false) => Detection::Without,
        };
        Ok((case, outcome))
    };
    cases.into_iter().zip(observed).map(outcome).collect()
}

/// The weights of a store of that shape, changed.
type Change<'a> = dyn Fn(&[usize], Vec<f64>) -> Vec<f64> + 'a;

struct Plant {
    control: Control,
    /// Ids of the cases in which it changed something.
    changed: Mutex<BTreeSet<String>>,
}

impl Plant {
    fn changes(&self, case: &Case) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(case.id.clone());
    }
}

/// Whether a store holds weights in the dtype of its case: vectors may stay f32.
fn is_packed(case: &Case, store: &WeightStore) -> bool {
    case.stored.dtype == Dtype::Float32 || store.dtype() != Dtype::Float32
}

fn with_packed(
    case: &Case,
    network: &Network,
    change: &dyn Fn(&WeightStore) -> Result<WeightStore>,
) -> Result<Network> {
    network.with_weights(&mut |layer| {
        let mut weights = layer.weights().clone();
        for store in weights.values_mut().filter(|store| is_packed(case, store)) {
            *store = change(store)?;
        }
        Ok(weights)
    })
}

/// The weights of a store by a wrong scale.
fn wrongly_scaled(store: &WeightStore) -> Result<WeightStore> {
    let Scales::Tensor(affine) = store.scales();
    match store.dtype() {
        Dtype::Float64 | Dtype::Float32 | Dtype::Float16 | Dtype::BFloat16 => {
            let doubled = store.iter().map(|w| 2.0 * w).collect();
            WeightStore::f64(store.shape().to_vec(), doubled)?.morph(store.dtype(), store.numerics())
        }
        dtype => store.quantised(dtype, store.numerics(), Affine { scale: affine.scale * 1000.0, ..affine }),
    }
}

impl Planted for Plant {
    fn stored(&self, case: &Case, network: Network) -> Network {
        if self.control != Control::Scale {
            return network;
        }
        if network.stores().iter().any(|(.., store)| is_packed(case, store) && !store.is_empty()) {
            self.changes(case);
        }
        // A network that cannot be stored so shows as not caught.
        with_packed(case, &network, &wrongly_scaled).unwrap_or(network)
    }

    fn packed(&self, case: &Case, network: &Network, inputs: &[Tensor], cpu: &Cpu) -> Result<Tensor> {
        let Control::Kernel(wrong) = self.control else { return network.run(inputs, &mut State::default(), cpu) };
        let run = |change: &Change<'_>| {
            let changed = with_packed(case, network, &|store| {
                WeightStore::f64(store.shape().to_vec(), change(store.shape(), store.iter().collect()))
            })?;
            changed.run(inputs, &mut State::default(), cpu)
        };
        let y = run(&|shape, weights| wrong.of(shape, &weights))?;
        // Both in float64: of attention without biases, turned signs cancel to the last bit.
        if y != run(&|_, weights| weights)? {
            self.changes(case);
        }
        Ok(y)
    }
}

/// How many faults were caught, of those that changed something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Red cases.
    pub caught: usize,
    /// Cases in which the fault changed something.
    pub planted: usize,
    /// Ids of those that are not red.
    pub missed: Vec<String>,
    /// `dtype/numerics` of those that changed something.
    pub dtypes: BTreeSet<String>,
}

/// Detections by bedrock.
#[must_use]
pub fn rates(outcomes: &[(Case, Detection)]) -> BTreeMap<String, Rate> {
    let mut rates: BTreeMap<String, Rate> = BTreeMap::new();
    for (case, outcome) in outcomes {
        let rate = rates.entry(case.manifest.bedrock.clone()).or_default();
        match outcome {
            Detection::Without => continue,
            Detection::Caught => rate.caught += 1,
            Detection::Missed => rate.missed.push(case.id.clone()),
        }
        rate.planted += 1;
        rate.dtypes.insert(case.stored.to_string());
    }
    rates
}
