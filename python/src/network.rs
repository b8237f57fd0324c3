//! The class `Network`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use loom_bedrocks::build;
use loom_core::format::{Checkpoint, Format, OnLoss, Open, Reading};
use loom_core::{Cpu, Dtype, LayerKind, Network, NetworkSpec, Numerics, State, Storage, Tensor, Vectors};
use numpy::{PyArrayDyn, PyArrayMethods as _};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyTuple};

use crate::{arrays, work};

fn wrong(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A network with its weights, and the whole checkpoint that it comes from. It never changes; `morph`
/// makes another.
///
/// Long calls can be interrupted: KeyboardInterrupt, or what another signal's handler raises, comes
/// within a fraction of a second. The work then ends by itself on a thread of its own and its result is dropped; a file
/// that was being written is still written, as a whole.
///
/// A child made by fork has the network too. Copies and pickles hold the whole checkpoint; a copy goes on
/// from where `decode` is, a pickle starts afresh.
#[pyclass(name = "Network", module = "planetbridging._loom", frozen)]
pub(crate) struct PyNetwork {
    checkpoint: Arc<Checkpoint>,
    format: Option<Format>,
    /// Locked only while the interpreter is held, and never across work: a fork leaves it open.
    live: Mutex<Live>,
}

/// What runs, in the process that it was made in.
struct Live {
    owner: u32,
    network: Arc<Network>,
    /// The pieces of work on the network.
    busy: Arc<AtomicUsize>,
    kept: Kept,
    /// Counts the calls that took `kept` out.
    calls: u64,
}

/// What survives from one call of `decode` to the next.
enum Kept {
    Here(Box<State>),
    /// With the call of this number.
    Out(u64),
    /// Gone, and why.
    Lost(&'static str),
}

impl Kept {
    fn fresh() -> Self {
        Kept::Here(Box::default())
    }
}

/// A network to work on, for as long as this lives.
struct Work {
    network: Arc<Network>,
    busy: Arc<AtomicUsize>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.busy.fetch_sub(1, Ordering::Release);
    }
}

impl PyNetwork {
    fn of(checkpoint: Checkpoint, network: Network, format: Option<Format>) -> Self {
        let (network, busy) = (Arc::new(network), Arc::default());
        let live = Live { owner: process::id(), network, busy, kept: Kept::fresh(), calls: 0 };
        Self { checkpoint: Arc::new(checkpoint), format, live: Mutex::new(live) }
    }

    fn read(
        py: Python<'_>,
        open: impl FnOnce() -> loom_core::Result<(Checkpoint, Option<Format>)> + Send + 'static,
    ) -> PyResult<Result<Self, loom_core::Error>> {
        work::run(py, move || {
            let (mut checkpoint, format) = open()?;
            // Everything, so that all digests are checked and the file may change afterwards.
            checkpoint.load()?;
            let network = checkpoint.network()?;
            Ok(Self::of(checkpoint, network, format))
        })
    }

    fn live(&self, _held: Python<'_>) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The network, made anew in a forked child where the parent was at work on it: what a thread was
    /// about to fill in would never be filled in.
    fn work(&self, py: Python<'_>) -> PyResult<Work> {
        let forked = {
            let mut live = self.live(py);
            if live.busy.load(Ordering::Acquire) == 0 {
                live.owner = process::id();
            }
            live.owner != process::id()
        };
        if forked {
            let checkpoint = Arc::clone(&self.checkpoint);
            let network = work::run(py, move || checkpoint.network())?.map_err(wrong)?;
            let mut live = self.live(py);
            if live.owner != process::id() {
                let used = |state: &State| state.widest() > 0;
                let kept = match &live.kept {
                    Kept::Here(state) if !used(state) => Kept::fresh(),
                    _ => Kept::Lost("the process was forked while the network was at work"),
                };
                *live = Live { owner: process::id(), network: Arc::new(network), busy: Arc::default(), kept, calls: 0 };
            }
        }
        let live = self.live(py);
        live.busy.fetch_add(1, Ordering::AcqRel);
        Ok(Work { network: Arc::clone(&live.network), busy: Arc::clone(&live.busy) })
    }

    /// Takes out what `decode` keeps; waits while another thread has it.
    fn take(&self, py: Python<'_>) -> PyResult<(Box<State>, u64)> {
        loop {
            {
                let mut live = self.live(py);
                let call = live.calls + 1;
                match std::mem::replace(&mut live.kept, Kept::Out(call)) {
                    Kept::Here(state) => {
                        live.calls = call;
                        return Ok((state, call));
                    }
                    Kept::Lost(why) => {
                        live.kept = Kept::Lost(why);
                        return Err(PyRuntimeError::new_err(format!(
                            "what decode had kept is lost: {why}; call reset() and give the sequence from its start"
                        )));
                    }
                    other => live.kept = other,
                }
            }
            py.detach(|| std::thread::sleep(Duration::from_millis(1)));
            py.check_signals()?;
        }
    }

    /// Puts back what a call took out, unless it was reset meanwhile.
    fn put(&self, py: Python<'_>, call: u64, kept: Kept) {
        let mut live = self.live(py);
        if matches!(live.kept, Kept::Out(current) if current == call) {
            live.kept = kept;
        }
    }

    fn copy(&self, py: Python<'_>) -> PyResult<Self> {
        let work = self.work(py)?;
        let live = self.live(py);
        let kept = match &live.kept {
            Kept::Here(state) => Kept::Here(state.clone()),
            Kept::Out(_) => Kept::Lost("the network was copied while another thread was decoding"),
            Kept::Lost(why) => Kept::Lost(why),
        };
        let live = Live {
            owner: live.owner,
            network: Arc::clone(&work.network),
            busy: Arc::clone(&live.busy),
            kept,
            calls: 0,
        };
        Ok(Self { checkpoint: Arc::clone(&self.checkpoint), format: self.format, live: Mutex::new(live) })
    }
}

/// `Err` with a sentence unless every input is read.
fn check_inputs(spec: &NetworkSpec, given: usize) -> Result<(), String> {
    let mut cells: Vec<_> = spec.cells.iter().filter(|cell| !cell.disabled).collect();
    cells.sort_by_key(|cell| spec.index(cell.at));
    let first = cells.first().map(|cell| cell.input.unwrap_or(0));
    let named = cells.iter().flat_map(|cell| [cell.input, cell.skip]).flatten();
    let read = named.chain(first).max().map_or(1, |last| last.saturating_add(1));
    if given <= read { Ok(()) } else { Err(format!("{given} inputs were given, and the network reads {read}")) }
}

/// `Err` with a sentence unless `reads` and `skips` name layers that run and can.
fn check_fed(network: &Network, reads: &BTreeMap<usize, usize>, skips: &BTreeMap<usize, usize>) -> Result<(), String> {
    let spec = network.spec();
    let count = spec.cells.len();
    for (what, index) in reads.keys().map(|i| ("reads", *i)).chain(skips.keys().map(|i| ("skips", *i))) {
        let cell = spec.cells.iter().find(|cell| spec.index(cell.at) == Some(index));
        let cell = cell.ok_or_else(|| format!("{what} names layer {index}; the layers are 0 to {}", count - 1))?;
        if cell.disabled {
            return Err(format!("{what} names layer {index}, which is disabled"));
        }
        let kind = cell.layer.kind();
        if what == "skips" && kind != LayerKind::Residual {
            return Err(format!(
                "skips names layer {index}, which is {}; only a residual layer adds an input",
                kind.name()
            ));
        }
    }
    Ok(())
}

/// `Err` with a sentence unless a flat mixer's run of the network differs from a plain one.
fn check_mixer(network: &Network, given: usize) -> Result<(), String> {
    let has = |kind| network.layers().any(|layer| layer.spec().kind() == kind);
    let embeds = has(LayerKind::Embedding);
    if !embeds && !has(LayerKind::Residual) {
        return Err("mixer=True is for networks with an embedding or a residual layer of their own; this one has \
                    neither and runs as it is: leave mixer out"
            .into());
    }
    let read = if embeds { 2 } else { 1 };
    if given <= read { Ok(()) } else { Err(format!("{given} inputs were given, and the mixer reads {read}")) }
}

fn forward(network: &Network, inputs: &[Tensor]) -> loom_core::Result<Tensor> {
    network.run(inputs, &mut State::default(), &Cpu::best())
}

fn file_format(version: u8) -> PyResult<Format> {
    match version {
        1 => Ok(Format::V1),
        2 => Ok(Format::V2),
        _ => Err(wrong(format!("unknown version {version}; expected 1 or 2"))),
    }
}

/// The function that makes the network again, and its arguments.
type Pickled<'py> = (Bound<'py, PyAny>, (Bound<'py, PyBytes>, Option<&'static str>));

/// What a pickle calls: the bytes of a checkpoint, and the format of the file that it came from.
#[pyfunction(name = "_unpickle")]
pub(crate) fn unpickle(py: Python<'_>, data: Vec<u8>, format: Option<&str>) -> PyResult<PyNetwork> {
    let format = loom_core::format::FORMATS.iter().copied().find(|known| Some(known.name()) == format);
    PyNetwork::read(py, move || Ok((Checkpoint::parse(data, Reading::Strict)?, format)))?.map_err(wrong)
}

#[pymethods]
impl PyNetwork {
    /// Reads an `.entity` of either version, or a JSON checkpoint: all of it, digests checked.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        if !path.is_file() {
            let what = if path.exists() { "not a file" } else { "no such file" };
            return Err(PyOSError::new_err(format!("{}: {what}", path.display())));
        }
        let name = path.display().to_string();
        let read = Self::read(py, move || {
            let (checkpoint, format) = Checkpoint::open_format(&path, Open::default())?;
            Ok((checkpoint, Some(format)))
        })?;
        read.map_err(|e| wrong(format!("{name}: {e}")))
    }

    /// Reads the bytes of such a file; `serialize_entity` is the way back.
    #[staticmethod]
    fn deserialize_entity(py: Python<'_>, data: Vec<u8>) -> PyResult<Self> {
        unpickle(py, data, None)
    }

    /// The bytes of an `.entity`: what `save` writes.
    #[pyo3(signature = (version = 2))]
    fn serialize_entity<'py>(&self, py: Python<'py>, version: u8) -> PyResult<Bound<'py, PyBytes>> {
        let (checkpoint, format) = (Arc::clone(&self.checkpoint), file_format(version)?);
        let bytes = work::run(py, move || checkpoint.to_bytes(format, OnLoss::Refuse))?.map_err(wrong)?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Pickled<'py>> {
        let py = slf.py();
        let this = slf.get();
        let restore = py.import("planetbridging._loom")?.getattr("_unpickle")?;
        Ok((restore, (this.serialize_entity(py, 2)?, this.format())))
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Self> {
        self.copy(py)
    }

    fn __deepcopy__(&self, py: Python<'_>, _memo: &Bound<'_, PyAny>) -> PyResult<Self> {
        self.copy(py)
    }

    /// The format it was read from: `v1`, `v2`, `v2-zstd` or `json`.
    #[getter]
    fn format(&self) -> Option<&'static str> {
        self.format.map(Format::name)
    }

    /// The topology: grid extents and the configuration of every layer.
    #[getter]
    fn topology(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let text = serde_json::to_string(self.live(py).network.spec()).map_err(wrong)?;
        Ok(py.import("json")?.call_method1("loads", (text,))?.unbind())
    }

    /// The dtype of each array, by `path.role`.
    #[getter]
    fn dtypes(&self, py: Python<'_>) -> BTreeMap<String, &'static str> {
        let network = Arc::clone(&self.live(py).network);
        let dtype = |(path, role, store): (&str, loom_core::Role, &loom_core::WeightStore)| {
            (format!("{path}.{role}"), store.dtype().name())
        };
        network.stores().into_iter().map(dtype).collect()
    }

    /// The bytes of all packed weights.
    #[getter]
    fn weight_bytes(&self, py: Python<'_>) -> usize {
        let network = Arc::clone(&self.live(py).network);
        network.stores().iter().map(|(_, _, store)| store.bytes().len()).sum()
    }

    /// The weights by `path.role`, decoded to float32.
    fn weights<'py>(&self, py: Python<'py>) -> PyResult<BTreeMap<String, Bound<'py, PyArrayDyn<f32>>>> {
        let work = self.work(py)?;
        let decoded: Vec<_> = work::run(py, move || {
            let decode = |(path, role, store): (&str, loom_core::Role, &loom_core::WeightStore)| {
                (format!("{path}.{role}"), store.shape().to_vec(), store.to_f32())
            };
            work.network.stores().into_iter().map(decode).collect()
        })?;
        let array = |(name, shape, data)| Ok((name, numpy::PyArray1::from_vec(py, data).reshape::<Vec<usize>>(shape)?));
        decoded.into_iter().map(array).collect()
    }

    /// Runs the network from a fresh start. Inputs are rounded to float32, batch first; what float32 cannot
    /// hold, masked, complex and other arrays that are not real numbers, and more inputs than the network
    /// reads are refused.
    ///
    /// `reads` and `skips` say which layers read or add an input of the network, as manifests do;
    /// `mixer` runs a flat mixer as the original bridge does.
    #[pyo3(signature = (*inputs, reads = None, skips = None, mixer = false))]
    fn forward<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyTuple>,
        reads: Option<BTreeMap<usize, usize>>,
        skips: Option<BTreeMap<usize, usize>>,
        mixer: bool,
    ) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let (inputs, work) = (arrays::inputs(inputs)?, self.work(py)?);
        let y = work::run(py, move || {
            let network = &*work.network;
            let fed = match (reads, skips) {
                (None, None) => None,
                _ if mixer => return Err("mixer=True says what layers read; leave reads and skips out".into()),
                (reads, skips) => {
                    let (reads, skips) = (reads.unwrap_or_default(), skips.unwrap_or_default());
                    check_fed(network, &reads, &skips)?;
                    Some(build::fed(network, &reads, &skips).map_err(|e| e.to_string())?)
                }
            };
            if mixer {
                check_mixer(network, inputs.len())?;
                return loom_bridge::mix(network, &inputs, &mut forward).map_err(|e| e.to_string());
            }
            let network = fed.as_ref().unwrap_or(network);
            check_inputs(network.spec(), inputs.len())?;
            forward(network, &inputs).map_err(|e| e.to_string())
        })?;
        arrays::array(py, y.map_err(wrong)?)
    }

    /// Runs one more position of a sequence: key/value caches go on from the call before. One call at a
    /// time; after one that was interrupted they are lost, and `decode` says so until `reset`.
    #[pyo3(signature = (*inputs))]
    fn decode<'py>(&self, py: Python<'py>, inputs: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let (inputs, work) = (arrays::inputs(inputs)?, self.work(py)?);
        check_inputs(work.network.spec(), inputs.len()).map_err(wrong)?;
        let (mut state, call) = self.take(py)?;
        let done = work::run(py, move || {
            let y = work.network.run(&inputs, &mut state, &Cpu::best());
            (y, state)
        });
        let (kept, y) = match done {
            Ok((y, state)) => (Kept::Here(state), y.map_err(wrong)),
            Err(error) => (Kept::Lost("a call was interrupted"), Err(error)),
        };
        self.put(py, call, kept);
        arrays::array(py, y?)
    }

    /// Forgets what `decode` has kept.
    fn reset(&self, py: Python<'_>) {
        self.live(py).kept = Kept::fresh();
    }

    /// The same network with its weights stored in another dtype. The tables of a transformer stay.
    #[pyo3(signature = (dtype, numerics = "standard"))]
    fn morph(&self, py: Python<'_>, dtype: &str, numerics: &str) -> PyResult<Self> {
        let known = || Dtype::ALL.iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join(", ");
        let dtype =
            Dtype::find(dtype).ok_or_else(|| wrong(format!("unknown dtype {dtype:?}; expected one of {}", known())))?;
        let found = Numerics::ALL.into_iter().find(|known| known.name() == numerics);
        let numerics =
            found.ok_or_else(|| wrong(format!("unknown numerics {numerics:?}; expected standard or loom")))?;
        let storage = Storage { dtype, numerics, vectors: Vectors::default() };
        let (checkpoint, work) = (Arc::clone(&self.checkpoint), self.work(py)?);
        let morphed = work::run(py, move || {
            if checkpoint.decoder().is_some() {
                let morphed = checkpoint.morphed(&storage)?;
                let network = morphed.network()?;
                return Ok::<_, loom_core::Error>(Self::of(morphed, network, None));
            }
            let network = work.network.morph(&storage)?;
            Ok(Self::of(Checkpoint::of(&network)?, network, None))
        })?;
        morphed.map_err(wrong)
    }

    /// Writes an `.entity`, replaced as a whole, with all that the network was read with: the tables and
    /// sizes of a transformer, and weights as they were packed. Version 1 is refused where it has no
    /// field for something.
    #[pyo3(signature = (path, version = 2))]
    fn save(&self, py: Python<'_>, path: PathBuf, version: u8) -> PyResult<()> {
        let (checkpoint, format) = (Arc::clone(&self.checkpoint), file_format(version)?);
        let name = path.display().to_string();
        let saved = work::run(py, move || checkpoint.save(&path, format, OnLoss::Refuse))?;
        saved.map_err(|e| wrong(format!("{name}: {e}")))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let network = Arc::clone(&self.live(py).network);
        let kinds: Vec<&str> = network.layers().map(|layer| layer.spec().kind().name()).collect();
        format!("<Network {} layer{}: {}>", kinds.len(), if kinds.len() == 1 { "" } else { "s" }, kinds.join(" "))
    }
}
