//! The class `Network`.

mod given;
mod live;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use loom_bedrocks::build;
use loom_core::format::{Checkpoint, Format, OnLoss, Open, Reading};
use loom_core::{Cpu, Dtype, Network, Numerics, State, Storage, Tensor, Vectors};
use numpy::{PyArrayDyn, PyArrayMethods as _};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyTuple};

use self::given::{check_fed, check_inputs, check_mixer};
use self::live::{Kept, Live};
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

impl PyNetwork {
    fn of(checkpoint: Checkpoint, network: Network, format: Option<Format>) -> Self {
        Self { checkpoint: Arc::new(checkpoint), format, live: Mutex::new(Live::of(network)) }
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
                _ if mixer => return Err(given::Error::FedMixer),
                (reads, skips) => {
                    let (reads, skips) = (reads.unwrap_or_default(), skips.unwrap_or_default());
                    check_fed(network, &reads, &skips)?;
                    Some(build::fed(network, &reads, &skips)?)
                }
            };
            if mixer {
                check_mixer(network, inputs.len())?;
                return Ok(loom_bridge::mix(network, &inputs, &mut forward)?);
            }
            let network = fed.as_ref().unwrap_or(network);
            check_inputs(network.spec(), inputs.len())?;
            Ok(forward(network, &inputs)?)
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
