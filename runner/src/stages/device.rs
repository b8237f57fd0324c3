//! GPU lanes: the adapters of this machine, and the kernel check on one of them.

use std::fmt::Write as _;
use std::sync::Arc;

use loom_core::gpu::{Adapter, Gpu, Options, Probe, Ran, adapters};
use loom_core::{Error, Network, Problem, State, Tensor};

use super::compare::compare;
use super::golden::Goldens;
use super::manifest::{Unknown, unknown};
use super::observation::{Failure, Observation};
use super::plan::{Case, Device, Kind, Tolerance};
use super::planted::Faithful;
use super::run::{Config, Seen, bits, fan, fenced, inputs, network};

/// What to do on a machine without an adapter.
pub(crate) const ABSENT: &str = "no GPU adapter was found; on Debian and Ubuntu `apt-get install mesa-vulkan-drivers libvulkan1` brings one that runs on the processor";

/// Why an adapter that is asked for is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdapterError {
    /// No adapter is.
    #[error("{}", ABSENT)]
    Absent,
    /// None has that name or number.
    #[error(transparent)]
    Unknown(#[from] Unknown),
}

/// An adapter that is open, and what its probe showed.
#[derive(Debug)]
pub struct GpuLane {
    /// As cases and reports know it.
    pub device: Arc<Device>,
    /// What the device makes of single operations.
    pub probe: Probe,
    gpu: Gpu,
}

/// How lanes open a device: with a store of compiled pipelines in the user's cache folder.
#[must_use]
pub fn options() -> Options {
    let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(std::path::PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    Options { cache: cache.map(|cache| cache.join("bedrock")), ..Options::default() }
}

/// The adapters that were asked for, by number or by part of a name; all when none is.
///
/// # Errors
/// The user's mistake: a name that no adapter has. Also where there are none and one is asked for.
pub fn chosen(wanted: &[String]) -> Result<Vec<Adapter>, AdapterError> {
    let all = adapters();
    let is = |adapter: &Adapter, text: &str| {
        text.parse() == Ok(adapter.index) || adapter.name.to_lowercase().contains(&text.to_lowercase())
    };
    if let Some(text) = wanted.iter().find(|text| !all.iter().any(|adapter| is(adapter, text))) {
        let known = all.iter().map(|adapter| adapter.slug.as_str());
        return Err(if all.is_empty() { AdapterError::Absent } else { unknown("adapter", text, known).into() });
    }
    let named = |adapter: &Adapter| wanted.is_empty() || wanted.iter().any(|text| is(adapter, text));
    Ok(all.into_iter().filter(named).collect())
}

impl GpuLane {
    /// Opens an adapter and measures its arithmetic.
    ///
    /// # Errors
    /// What the driver says.
    pub fn open(adapter: &Adapter, options: Options) -> loom_core::Result<Self> {
        let gpu = Gpu::open(adapter, options)?;
        let probe = gpu.probe()?;
        let device = Device {
            slug: adapter.slug.clone(),
            adapter: adapter.name.clone(),
            driver: adapter.driver.clone(),
            backend: adapter.backend.clone(),
            precision: gpu.precision().name().into(),
            exact: probe.is_exact(),
        };
        Ok(Self { device: Arc::new(device), probe, gpu })
    }

    /// The open device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Runs cases of this lane and returns what each showed, in their order; `None` where the run was
    /// ended before it, which it is after a whole bedrock. `seen` is called as cases finish.
    ///
    /// # Errors
    /// When the thread pools cannot be made.
    pub fn run(
        &self,
        cases: &[Case],
        goldens: &Goldens,
        config: &Config,
        seen: Seen<'_>,
    ) -> anyhow::Result<Vec<Option<Observation>>> {
        let mut observations = vec![None; cases.len()];
        let mut first = 0;
        // One bedrock at a time, so that few networks are in memory; the processor works out the
        // next one's references while the device runs.
        let parts: Vec<&[Case]> = cases.chunk_by(|a, b| a.manifest.bedrock == b.manifest.bedrock).collect();
        std::thread::scope(|scope| -> anyhow::Result<()> {
            let ahead = |n: usize| parts.get(n).map(|&part| scope.spawn(move || references(part, goldens, config)));
            let mut next = ahead(0);
            for (n, &part) in parts.iter().enumerate() {
                let Some(references) = next else { break };
                let references = references.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                next = ahead(n + 1);
                let mut ended = false;
                let mut tell = |i: usize, observation: Observation| {
                    ended |= seen(&part[i], &observation).is_break();
                    observations[first + i] = Some(observation);
                };
                let mut cells = Vec::new();
                let mut places = Vec::new();
                for (i, reference) in references.iter().enumerate() {
                    match reference {
                        Ok(reference) => {
                            cells.push((&reference.network, &reference.inputs[..]));
                            places.push((i, reference));
                        }
                        Err(what) => tell(i, Observation::Failed(what.to_string())),
                    }
                }
                self.gpu.run_all(&cells, &mut |cell, ran| {
                    let (i, reference) = places[cell];
                    tell(i, self.observed(&part[i], reference, ran));
                });
                if ended {
                    break;
                }
                first += part.len();
            }
            Ok(())
        })?;
        let _ = self.gpu.save_pipelines();
        Ok(observations)
    }

    fn observed(&self, case: &Case, reference: &OnCpu, ran: loom_core::Result<Ran>) -> Observation {
        let ran = match ran {
            Ok(ran) => ran,
            Err(Error::Layer { path, kind, problem, .. }) if matches!(*problem, Problem::NotOnDevice(_)) => {
                return Observation::Skipped(format!("{kind} ({path}): {problem}"));
            }
            Err(error) => return Observation::Failed(error.to_string()),
        };
        if ran.dispatches == 0 {
            return Observation::Failed("nothing was dispatched".into());
        }
        if ran.broken_guards > 0 {
            return Observation::Unstable(format!(
                "a kernel wrote beyond its array: {} guard words",
                ran.broken_guards
            ));
        }
        if ran.unstable > 0 {
            return Observation::Unstable(format!("{} elements differ between two runs", ran.unstable));
        }
        let (ours, expected) = (&ran.output, &reference.output);
        let path = self.device.adapter.clone();
        match case.kind {
            Kind::Device(tolerance) if tolerance != Tolerance::EXACT && ours.shape() == expected.shape() => {
                Observation::Path(path, compare(ours.shape(), ours.data(), expected.data(), None, &tolerance))
            }
            _ => bits(path, expected, ours),
        }
    }
}

/// What a GPU is held against: a case's network in its dtype, its inputs, and the CPU's output.
pub struct OnCpu {
    /// The network.
    pub network: Network,
    /// What it is fed.
    pub inputs: Arc<Vec<Tensor>>,
    /// The output on the configured path.
    pub output: Tensor,
}

/// The references of `cases`, in their order; of each model, the network is built once.
///
/// # Errors
/// When the thread pools cannot be made.
pub(crate) fn references(
    cases: &[Case],
    goldens: &Goldens,
    config: &Config,
) -> anyhow::Result<Vec<Result<OnCpu, Failure>>> {
    let jobs = if config.jobs == 0 { rayon::current_num_threads() } else { config.jobs };
    let models: Vec<&[Case]> =
        cases.chunk_by(|a, b| a.model == b.model && a.manifest.bedrock == b.manifest.bedrock).collect();
    let plain = fan(jobs, models.len(), |m| {
        let case = &models[m][0];
        fenced(|| Ok((network(case, goldens, &Faithful)?, Arc::new(inputs(case, goldens)?))))
    })?;
    let model_of: Vec<usize> = models.iter().enumerate().flat_map(|(m, cases)| vec![m; cases.len()]).collect();
    fan(jobs, cases.len(), |i| {
        fenced(|| {
            let (plain, inputs) = plain[model_of[i]].as_ref().map_err(Failure::clone)?;
            let network = plain.morph(&cases[i].storage())?;
            let output = network.run(inputs, &mut State::default(), &config.cpu)?;
            Ok(OnCpu { network, inputs: Arc::clone(inputs), output })
        })
    })
}

/// The adapters of this machine as a list.
#[must_use]
pub fn list(adapters: &[Adapter]) -> String {
    let mut text = String::new();
    for adapter in adapters {
        let Adapter { index, name, driver, backend, kind, slug, .. } = adapter;
        let _ = writeln!(text, "{index}  {name} ({kind}, {backend}, {driver}): lane gpu-{slug}");
    }
    if text.is_empty() { format!("{ABSENT}\n") } else { text }
}

/// What adapters can do, and what they make of single operations.
#[must_use]
pub(crate) fn probe(adapter: &Adapter, lane: &loom_core::Result<GpuLane>) -> String {
    let mut text = list(std::slice::from_ref(adapter));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "   {name:<26} {value}");
    };
    for (name, value) in adapter.capabilities() {
        line(name, &value);
    }
    let lane = match lane {
        Ok(lane) => lane,
        Err(what) => {
            line("cannot be opened", &what.to_string());
            return text;
        }
    };
    let both = [("f32", Some(lane.probe.single)), ("f64", lane.probe.double)];
    for (name, arithmetic) in both {
        let Some(a) = arithmetic else { continue };
        let say = |name: &str, is: bool, yes: &str, no: &str| format!("{name}{}", if is { yes } else { no });
        let facts = [
            say("a*b+c ", a.contracts, "fused", "rounded twice"),
            say("fma ", a.fused, "fused", "not fused"),
            say("division ", a.division, "IEEE", "not IEEE"),
            say("root ", a.root, "IEEE", "not IEEE"),
            say("subnormals ", a.subnormals, "kept", "flushed"),
        ];
        line(&format!("{name} in our kernels"), &facts.join(", "));
    }
    line("claim", if lane.device.exact { "every bit equal to the CPU's" } else { "within the band of _defaults.yaml" });
    text
}
