//! Runs cases: builds each network once, fans models out over cores, fences panics.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use loom_bedrocks::build;
use loom_bedrocks::npz::{Arrays, Data, sha256_f32};
use loom_bedrocks::relayout::output_order;
use loom_core::{Cpu, Isa, Network, NetworkSpec, State, Tensor, Threads};
use rayon::prelude::*;

use crate::compare::compare;
use crate::golden::{FileId, Goldens};
use crate::judge::{Observation, judge};
use crate::manifest::Outcome;
use crate::plan::{Case, FastPath, Kind, Tolerance};

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The path that parity and snapshot cases run on.
    pub cpu: Cpu,
    /// Threads; 0 means one for each core.
    pub jobs: usize,
    /// Whether to stop after the first red case.
    pub fail_fast: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { cpu: Cpu::best(), jobs: 0, fail_fast: false }
    }
}

/// Changes that a test plants between the goldens and the network, to see the judge turn red.
pub trait Fault: Sync {
    /// Changes the topology.
    fn spec(&self, _spec: &mut NetworkSpec) {}
    /// Changes the weights, in Loom's layout.
    fn weights(&self, _weights: &mut loom_core::WeightTable) {}
    /// Runs the network in another way.
    fn run(&self, network: &Network, inputs: &[Tensor], cpu: &Cpu) -> loom_core::Result<Tensor> {
        network.run(inputs, &mut State::default(), cpu)
    }
}

/// No fault.
#[derive(Clone, Copy, Debug)]
pub struct Faithful;

impl Fault for Faithful {}

/// Runs `cases` and returns what each showed, in their order; `None` where a red case before
/// it ended the run. `done` is called as cases finish.
///
/// # Errors
/// When the thread pools cannot be made.
pub fn run(
    cases: &[Case],
    goldens: &Goldens,
    config: &Config,
    fault: &dyn Fault,
    done: &(dyn Fn(usize) + Sync),
) -> anyhow::Result<Vec<Option<Observation>>> {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let (fan, wide) = (pool(config.jobs)?, pool(rayon::current_num_threads().max(2))?);
    let mut groups: BTreeMap<(&str, usize), Vec<usize>> = BTreeMap::new();
    for (i, case) in cases.iter().enumerate() {
        groups.entry((&case.manifest.bedrock, case.model)).or_default().push(i);
    }
    let groups: Vec<Vec<usize>> = groups.into_values().collect();
    let stop = AtomicBool::new(false);
    let found: Vec<Vec<(usize, Observation)>> = fan.install(|| {
        let group = |indices: &Vec<usize>| {
            let mut models = Models { goldens, config, fault, wide: &wide, built: BTreeMap::new() };
            let mut found = Vec::new();
            for &i in indices {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let observation = catch_unwind(AssertUnwindSafe(|| models.observe(&cases[i])))
                    .unwrap_or_else(|panic| Err(format!("the case panicked: {}", panic_text(&*panic))))
                    .unwrap_or_else(Observation::Failed);
                if config.fail_fast && !judge(&cases[i], &observation).label.is_green() {
                    stop.store(true, Ordering::Relaxed);
                }
                found.push((i, observation));
                done(1);
            }
            found
        };
        groups.par_iter().map(group).collect()
    });
    let mut observations = vec![None; cases.len()];
    for (i, observation) in found.into_iter().flatten() {
        observations[i] = Some(observation);
    }
    Ok(observations)
}

/// Our output of a model, for `bless --core`: the digest of the scalar reference.
///
/// # Errors
/// The sentence that an ERROR case would show.
pub fn digest(case: &Case, goldens: &Goldens) -> Result<String, String> {
    let network = network(case, goldens, &Faithful)?;
    let y = network.run(&inputs(case, goldens)?, &mut State::default(), &Cpu::scalar()).map_err(|e| e.to_string())?;
    Ok(sha256_f32(y.data()))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// The networks and reference outputs of one model, built when first needed.
struct Models<'a> {
    goldens: &'a Goldens,
    config: &'a Config,
    fault: &'a dyn Fault,
    wide: &'a rayon::ThreadPool,
    built: BTreeMap<&'static str, Built>,
}

struct Built {
    network: Network,
    inputs: Vec<Tensor>,
    /// The output on the configured path.
    output: Tensor,
    /// The output of the scalar single core, once a kernel case has asked for it.
    reference: Option<Tensor>,
}

impl Models<'_> {
    fn observe(&mut self, case: &Case) -> Result<Observation, String> {
        if let Some(rule) = case.expect.as_ref().filter(|rule| rule.outcome == Outcome::Skip) {
            return Ok(Observation::Skipped(rule.because.clone()));
        }
        let (config, fault, wide) = (self.config, self.fault, self.wide);
        let goldens = self.goldens;
        let built = self.built(case)?;
        match case.kind {
            Kind::Parity(tolerance) => parity(case, goldens, &built.output, &tolerance),
            Kind::Snapshot => {
                let (bedrock, model) = (&case.manifest.bedrock, case.model().id());
                let blessed =
                    goldens.digest(bedrock, model, "f32").ok_or("core.yaml has no f32 digest of this model")?;
                Ok(Observation::Digest(sha256_f32(built.output.data()), blessed.into()))
            }
            Kind::Kernel(path) => {
                let on = |cpu: Cpu| fault.run(&built.network, &built.inputs, &cpu).map_err(|e| e.to_string());
                let reference = match built.reference.take() {
                    Some(reference) => reference,
                    None => on(Cpu::scalar())?,
                };
                let paths: Vec<Cpu> = match path {
                    FastPath::Simd => {
                        let vector = Isa::available().into_iter().filter(|isa| *isa != Isa::Scalar);
                        vector.filter_map(|isa| Cpu::with(isa, Threads::Single)).collect()
                    }
                    FastPath::Threads => Cpu::with(config.cpu.isa(), Threads::Multi).into_iter().collect(),
                };
                let mut observation = Observation::Skipped("this processor has neither AVX2 nor AVX-512".into());
                for cpu in paths {
                    let y = if cpu.threads() == Threads::Multi { wide.install(|| on(cpu))? } else { on(cpu)? };
                    observation = bits(&reference, &y);
                    if !matches!(&observation, Observation::Compared(c) if c.exact) {
                        break;
                    }
                }
                built.reference = Some(reference);
                Ok(observation)
            }
        }
    }

    fn built(&mut self, case: &Case) -> Result<&mut Built, String> {
        let (goldens, fault) = (self.goldens, self.fault);
        match self.built.entry(case.planet.id) {
            std::collections::btree_map::Entry::Occupied(slot) => Ok(slot.into_mut()),
            std::collections::btree_map::Entry::Vacant(slot) => {
                let (network, inputs) = (network(case, goldens, fault)?, inputs(case, goldens)?);
                let output = fault.run(&network, &inputs, &self.config.cpu).map_err(|e| e.to_string())?;
                Ok(slot.insert(Built { network, inputs, output, reference: None }))
            }
        }
    }
}

fn file<'a>(goldens: &'a Goldens, id: &FileId) -> Result<&'a Arrays, String> {
    goldens.file(id).ok_or_else(|| format!("golden {}/{} was not loaded", id.bedrock, id.path))
}

fn arrays<'a>(case: &Case, goldens: &'a Goldens) -> Result<&'a Arrays, String> {
    file(goldens, &FileId::model(&case.manifest.bedrock, case.planet.id, case.model().id()))
}

fn network(case: &Case, goldens: &Goldens, fault: &dyn Fault) -> Result<Network, String> {
    let place = |what| format!("golden/{}/{}/{}.npz: {what}", case.manifest.bedrock, case.planet.id, case.model().id());
    let mut spec = case.model().network();
    let mut weights = build::weights(&spec, case.planet, arrays(case, goldens)?).map_err(place)?;
    fault.spec(&mut spec);
    fault.weights(&mut weights);
    Network::build(spec, &mut weights).map_err(|e| e.to_string())
}

fn inputs(case: &Case, goldens: &Goldens) -> Result<Vec<Tensor>, String> {
    let fixture = file(goldens, &FileId::fixture(&case.manifest.bedrock))?;
    case.model().inputs.iter().map(|input| build::input(input, fixture)).collect()
}

fn parity(case: &Case, goldens: &Goldens, ours: &Tensor, tolerance: &Tolerance) -> Result<Observation, String> {
    let arrays = arrays(case, goldens)?;
    let array = |name: &str| arrays.get(name).ok_or_else(|| format!("the golden has no array {name}"));
    let (expected, exact) = (array("output")?, array("output_f64")?);
    let (Data::F32(data), Data::F64(exact)) = (&expected.data, &exact.data) else {
        return Err("the golden's output is not float32, or its output_f64 not float64".into());
    };
    let (shape, order) = output_order(case.planet, case.model().layers.last(), &expected.shape);
    if array("output_f64")?.shape != expected.shape {
        return Err(format!(
            "the golden's output_f64 has shape {:?}, its output {:?}",
            array("output_f64")?.shape,
            expected.shape
        ));
    }
    if let Some(i) = (0..data.len()).find(|&i| !data[i].is_finite() || !exact[i].is_finite()) {
        return Err(format!(
            "the golden's output holds {} (float64: {}) at flat index {i}; dump a finite model",
            data[i], exact[i]
        ));
    }
    if shape != ours.shape() {
        return Ok(Observation::Shape(ours.shape().to_vec(), shape));
    }
    let (data, exact): (Vec<f32>, Vec<f64>) = match order {
        None => (data.clone(), exact.clone()),
        Some(order) => (order.iter().map(|&i| data[i]).collect(), order.iter().map(|&i| exact[i]).collect()),
    };
    Ok(Observation::Compared(compare(&shape, ours.data(), &data, Some(&exact), tolerance)))
}

/// Bit equality, signed zeros and NaN payloads included.
fn bits(reference: &Tensor, y: &Tensor) -> Observation {
    if reference.shape() != y.shape() {
        return Observation::Shape(y.shape().to_vec(), reference.shape().to_vec());
    }
    let mut comparison = compare(y.shape(), y.data(), reference.data(), None, &Tolerance::EXACT);
    comparison.exact = reference.data().iter().zip(y.data()).all(|(a, b)| a.to_bits() == b.to_bits());
    if !comparison.exact {
        comparison.excess = f64::INFINITY;
    }
    Observation::Compared(comparison)
}
