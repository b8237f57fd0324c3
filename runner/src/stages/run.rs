//! Runs cases: builds each network once, fans models out over cores, fences panics.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use loom_bedrocks::build;
use loom_bedrocks::npz::{Arrays, Data, sha256_f32};
use loom_bedrocks::relayout::output_order;
use loom_core::{Cpu, Isa, Network, Role, State, Tensor, Threads, WeightStore};

use super::compare::{self, compare};
use super::golden::{FileId, Goldens};
use super::manifest::Outcome;
use super::observation::{Failure, Fidelity, Observation};
use super::oracle;
use super::plan::{Case, Check, Kind, Tolerance};
use super::planted::{Faithful, Planted};
use super::roundtrip::roundtrip;

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The path that parity, fidelity and snapshot cases run on. Cases already fill the cores.
    pub cpu: Cpu,
    /// Threads; 0 means one for each core.
    pub jobs: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { cpu: Cpu::with(Isa::best(), Threads::Single).unwrap_or_else(Cpu::scalar), jobs: 0 }
    }
}

/// What is told of each case and what it showed, as it finishes, and says whether to go on.
pub type Seen<'a> = &'a (dyn Fn(&Case, &Observation) -> ControlFlow<()> + Sync);

/// Goes on to the end.
pub fn to_the_end(_: &Case, _: &Observation) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Runs `cases` and returns what each showed, in their order; `None` where the run was ended before
/// it. `seen` is called as cases finish, and may end the run.
///
/// # Errors
/// When the thread pools cannot be made.
pub fn run(
    cases: &[Case],
    goldens: &Goldens,
    config: &Config,
    planted: &dyn Planted,
    seen: Seen<'_>,
) -> anyhow::Result<Vec<Option<Observation>>> {
    let jobs = if config.jobs == 0 { rayon::current_num_threads() } else { config.jobs };
    let mut groups: BTreeMap<(&str, usize), Vec<usize>> = BTreeMap::new();
    for (i, case) in cases.iter().enumerate() {
        groups.entry((&case.manifest.bedrock, case.model)).or_default().push(i);
    }
    let groups: Vec<Vec<usize>> = groups.into_values().collect();
    let stop = AtomicBool::new(false);
    let models = fan(jobs, groups.len(), |g| {
        let mut model = Model { goldens, config, planted, plain: BTreeMap::new() };
        groups[g].iter().for_each(|&i| model.prepare(&cases[i]));
        model
    })?;
    // Cases of one network in one dtype follow each other, and share it.
    let together = |a: &usize, b: &usize| {
        let key = |i: usize| (cases[i].planet.id, cases[i].check() == Check::Parity, cases[i].stored);
        key(*a) == key(*b)
    };
    let parts: Vec<(&Model<'_>, &[usize])> = models
        .iter()
        .zip(&groups)
        .flat_map(|(model, group)| group.chunk_by(together).map(move |part| (model, part)))
        .collect();
    let found = fan(jobs, parts.len(), |p| {
        let (model, indices) = parts[p];
        let mut stored = None;
        let mut found = Vec::new();
        for &i in indices {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let observation = fenced(|| model.observe(&cases[i], &mut stored))
                .unwrap_or_else(|failure| Observation::Failed(failure.to_string()));
            if seen(&cases[i], &observation).is_break() {
                stop.store(true, Ordering::Relaxed);
            }
            found.push((i, observation));
        }
        found
    })?;
    let mut observations = vec![None; cases.len()];
    for (i, observation) in found.into_iter().flatten() {
        observations[i] = Some(observation);
    }
    Ok(observations)
}

/// Threads of the pool in which a job runs: what "several cores" are. They are the job's own, as a
/// shared pool would start another job while one waits for its cores, and nest without end.
const SEVERAL: usize = 2;

/// `f(0), f(1), …` in order, by `jobs` threads that take the next number as they get free.
pub(super) fn fan<T: Send>(jobs: usize, n: usize, f: impl Fn(usize) -> T + Sync) -> anyhow::Result<Vec<T>> {
    let pool = |_| rayon::ThreadPoolBuilder::new().num_threads(SEVERAL).build();
    let pools = (0..jobs.clamp(1, n.max(1))).map(pool).collect::<Result<Vec<_>, _>>()?;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= n {
                return done;
            }
            done.push((i, f(i)));
        }
    };
    let mut all: Vec<(usize, T)> = std::thread::scope(|scope| {
        let jobs: Vec<_> = pools.iter().map(|pool| scope.spawn(|| pool.install(work))).collect();
        // Cases are fenced, so a thread ends in a panic only where this function is at fault.
        let end = |job: ScopedJoinHandle<'_, _>| job.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        jobs.into_iter().flat_map(end).collect()
    });
    all.sort_by_key(|(i, _)| *i);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

/// Our output of a case's model in its dtype, for `bless --core`: the digest of the scalar
/// reference.
///
/// # Errors
/// The sentence that an ERROR case would show.
pub fn digest(case: &Case, goldens: &Goldens) -> Result<String, Failure> {
    let network = network(case, goldens, &Faithful)?.morph(&case.storage())?;
    let y = network.run(&inputs(case, goldens)?, &mut State::default(), &Cpu::scalar())?;
    Ok(sha256_f32(y.data()))
}

/// Runs `f` and turns a panic into an error.
pub(super) fn fenced<T>(f: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Failure::Panic(text.into()))
    })
}

/// One model: its networks in f32, which everything else is derived from.
struct Model<'a> {
    goldens: &'a Goldens,
    config: &'a Config,
    planted: &'a dyn Planted,
    /// By planet.
    plain: BTreeMap<&'static str, Result<Plain, Failure>>,
}

struct Plain {
    inputs: Vec<Tensor>,
    built: Built,
}

struct Built {
    network: Network,
    /// The output on the configured path.
    output: Tensor,
}

impl Model<'_> {
    /// Builds what a case needs in f32, unless it is there.
    fn prepare(&mut self, case: &Case) {
        if case.expect.as_ref().is_some_and(|rule| rule.outcome == Outcome::Skip) {
            return;
        }
        if !self.plain.contains_key(case.planet.id) {
            let plain = fenced(|| {
                let (network, inputs) = (network(case, self.goldens, self.planted)?, inputs(case, self.goldens)?);
                let output = self.planted.run(&network, &inputs, &self.config.cpu)?;
                let built = Built { network, output };
                Ok(Plain { inputs, built })
            });
            self.plain.insert(case.planet.id, plain);
        }
    }

    /// `stored` keeps the network in the case's dtype for the cases that follow.
    fn observe(&self, case: &Case, stored: &mut Option<Built>) -> Result<Observation, Failure> {
        if let Some(rule) = case.expect.as_ref().filter(|rule| rule.outcome == Outcome::Skip) {
            return Ok(Observation::Skipped(rule.because.clone()));
        }
        let plain = self.plain.get(case.planet.id).ok_or(Failure::Misplaced("the network was not built"))?;
        let plain = plain.as_ref().map_err(Failure::clone)?;
        if let Kind::Parity(tolerance) = case.kind {
            return parity(case, self.goldens, &plain.built.output, &tolerance);
        }
        let built = match stored {
            Some(built) => built,
            None => {
                let network = plain.built.network.morph(&case.storage())?;
                let network = self.planted.stored(case, network);
                let output = self.planted.packed(case, &network, &plain.inputs, &self.config.cpu)?;
                stored.insert(Built { network, output })
            }
        };
        match case.kind {
            Kind::Parity(_) => Err(Failure::Misplaced("parity takes no dtype")),
            Kind::Fidelity => self.fidelity(case, plain, built),
            Kind::Snapshot => {
                let (bedrock, model, key) = (&case.manifest.bedrock, case.model().id(), case.stored.to_string());
                let blessed = self.goldens.digest(bedrock, model, &key);
                let blessed =
                    blessed.ok_or_else(|| Failure::Golden(format!("core.yaml has no {key} digest of this model")))?;
                Ok(Observation::Digest(sha256_f32(built.output.data()), blessed.into()))
            }
            Kind::Kernel => self.kernel(built, &plain.inputs),
            Kind::Device(_) => Err(Failure::Misplaced("a GPU's cases run on the GPU")),
            Kind::Roundtrip => {
                let run = |network: &Network| self.planted.run(network, &plain.inputs, &self.config.cpu);
                Ok(Observation::Roundtrip(roundtrip(&built.network, &built.output, self.planted, &run)?))
            }
        }
    }

    /// Every vector instruction set of this processor on one core, then the configured one on
    /// several, until one differs from the scalar core.
    fn kernel(&self, built: &Built, inputs: &[Tensor]) -> Result<Observation, Failure> {
        // The configured path has run already.
        let on = |cpu: Cpu| match cpu == self.config.cpu {
            true => Ok(built.output.clone()),
            false => self.planted.run(&built.network, inputs, &cpu),
        };
        let reference = on(Cpu::scalar())?;
        let vector = Isa::available().into_iter().filter(|isa| *isa != Isa::Scalar);
        let single = vector.filter_map(|isa| Cpu::with(isa, Threads::Single));
        for cpu in single.chain(Cpu::with(self.config.cpu.isa(), Threads::Multi)) {
            let several = cpu.threads() == Threads::Multi;
            let y = on(cpu)?;
            let path = format!("{} on {}", cpu.isa(), if several { "several cores" } else { "one core" });
            let observation = bits(path, &reference, &y);
            if several || !matches!(&observation, Observation::Path(_, c) if c.exact) {
                return Ok(observation);
            }
        }
        Err(Failure::Misplaced("this processor has no path beside the scalar core"))
    }

    /// Both questions of a dtype: beside its own decoded weights, and beside the model in f32.
    fn fidelity(&self, case: &Case, plain: &Plain, stored: &Built) -> Result<Observation, Failure> {
        let (ours, expected) = (&stored.output, &plain.built.output);
        if ours.shape() != expected.shape() {
            return Ok(Observation::Shape(ours.shape().to_vec(), expected.shape().to_vec()));
        }
        let network = decoded(&stored.network)?;
        let right = self.planted.run(&network, &plain.inputs, &self.config.cpu)?;
        let cost = self.goldens.cost(case).cloned();
        let cost = cost.ok_or_else(|| Failure::Golden("what it costs was never measured".into()))?;
        let exactly = |other: &Tensor| compare(ours.shape(), ours.data(), other.data(), None, &Tolerance::EXACT);
        let (weight, bits) = compare::weights(&plain.built.network, &stored.network);
        Ok(Observation::Fidelity(Box::new(Fidelity {
            decoded: exactly(&right),
            output: exactly(expected),
            cosine: compare::cosine(ours.data(), expected.data()),
            cost,
            scale: oracle::mismatch(&plain.built.network, &stored.network, &case.storage()),
            weight,
            bits,
        })))
    }
}

/// The network with its weights decoded to f32.
fn decoded(network: &Network) -> loom_core::Result<Network> {
    network.with_weights(&mut |layer| {
        let decode = |(role, store): (&Role, &WeightStore)| {
            Ok((*role, WeightStore::f32(store.shape().to_vec(), store.to_f32())?))
        };
        layer.weights().iter().map(decode).collect()
    })
}

fn file<'a>(goldens: &'a Goldens, id: &FileId) -> Result<&'a Arrays, Failure> {
    goldens.file(id).ok_or_else(|| Failure::Golden(format!("golden {}/{} was not loaded", id.bedrock, id.path)))
}

fn arrays<'a>(case: &Case, goldens: &'a Goldens) -> Result<&'a Arrays, Failure> {
    file(goldens, &FileId::model(&case.manifest.bedrock, case.planet.id, case.model().id()))
}

pub(crate) fn network(case: &Case, goldens: &Goldens, planted: &dyn Planted) -> Result<Network, Failure> {
    let wrong = |error| {
        let (bedrock, planet, model) = (&case.manifest.bedrock, case.planet.id, case.model().id());
        Failure::Weights { file: format!("golden/{bedrock}/{planet}/{model}.npz"), error: Box::new(error) }
    };
    let mut spec = case.model().network();
    let mut weights = build::weights(&spec, case.planet, arrays(case, goldens)?).map_err(wrong)?;
    planted.spec(&mut spec);
    planted.weights(&mut weights);
    Ok(Network::build(spec, &mut weights)?)
}

pub(crate) fn inputs(case: &Case, goldens: &Goldens) -> Result<Vec<Tensor>, Failure> {
    let fixture = file(goldens, &FileId::fixture(&case.manifest.bedrock))?;
    let input = |input| Ok(build::input(input, fixture)?);
    case.model().inputs.iter().map(input).collect()
}

fn parity(case: &Case, goldens: &Goldens, ours: &Tensor, tolerance: &Tolerance) -> Result<Observation, Failure> {
    let golden = Failure::Golden;
    let arrays = arrays(case, goldens)?;
    let array = |name: &str| arrays.get(name).ok_or_else(|| golden(format!("the golden has no array {name}")));
    let (expected, exact) = (array("output")?, array("output_f64")?);
    let (Data::F32(data), Data::F64(exact)) = (&expected.data, &exact.data) else {
        return Err(golden("the golden's output is not float32, or its output_f64 not float64".into()));
    };
    let (shape, order) = output_order(case.planet, case.model().layers.last(), &expected.shape);
    if array("output_f64")?.shape != expected.shape {
        return Err(golden(format!(
            "the golden's output_f64 has shape {:?}, its output {:?}",
            array("output_f64")?.shape,
            expected.shape
        )));
    }
    if let Some(i) = (0..data.len()).find(|&i| !data[i].is_finite() || !exact[i].is_finite()) {
        return Err(golden(format!(
            "the golden's output holds {} (float64: {}) at flat index {i}; dump a finite model",
            data[i], exact[i]
        )));
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
pub(super) fn bits(path: String, reference: &Tensor, y: &Tensor) -> Observation {
    if reference.shape() != y.shape() {
        return Observation::Shape(y.shape().to_vec(), reference.shape().to_vec());
    }
    let mut comparison = compare(y.shape(), y.data(), reference.data(), None, &Tolerance::EXACT);
    comparison.exact = reference.data().iter().zip(y.data()).all(|(a, b)| a.to_bits() == b.to_bits());
    if !comparison.exact {
        comparison.excess = f64::INFINITY;
    }
    Observation::Path(path, comparison)
}
