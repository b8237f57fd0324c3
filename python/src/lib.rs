//! `planetbridging._loom`: networks of checkpoints in Python, NumPy in and out.
//!
//! The interpreter is released while a network is read, run, morphed or written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use loom_bedrocks::{build, stream};
use loom_core::format::{Checkpoint, Format, Open, Reading, Unheld};
use loom_core::{Cpu, Dtype, Network, Numerics, State, Storage, Tensor, Vectors};
use numpy::{PyArrayDyn, PyArrayMethods as _, PyReadonlyArrayDyn, PyUntypedArrayMethods as _};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

fn wrong(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A network with its weights. It never changes; `morph` makes another.
#[pyclass(name = "Network", module = "planetbridging._loom", frozen)]
struct PyNetwork {
    network: Network,
    format: Option<Format>,
    /// What survives from one call of `decode` to the next.
    state: Mutex<State>,
}

impl PyNetwork {
    fn of(network: Network, format: Option<Format>) -> Self {
        Self { network, format, state: Mutex::default() }
    }
}

/// An array as a tensor, rounded to float32.
fn tensor(array: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let array = array.py().import("numpy")?.call_method1("asarray", (array, "float32"))?;
    let array: PyReadonlyArrayDyn<'_, f32> = array.extract()?;
    let data = array.as_array().iter().copied().collect();
    Tensor::new(array.shape().to_vec(), data).map_err(wrong)
}

#[pymethods]
impl PyNetwork {
    /// Reads an `.entity` of either version, or a JSON checkpoint.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        if !path.is_file() {
            return Err(PyOSError::new_err(format!("{}: no such file", path.display())));
        }
        let read = py.detach(|| {
            let (checkpoint, format) = Checkpoint::open_format(&path, Open::default())?;
            Ok::<_, loom_core::Error>((checkpoint.network()?, format))
        });
        let (network, format) = read.map_err(|e| wrong(format!("{}: {e}", path.display())))?;
        Ok(Self::of(network, Some(format)))
    }

    /// Reads the bytes of such a file.
    #[staticmethod]
    fn deserialize_entity(py: Python<'_>, data: Vec<u8>) -> PyResult<Self> {
        let network = py.detach(|| Checkpoint::parse(data, Reading::Strict)?.network()).map_err(wrong)?;
        Ok(Self::of(network, None))
    }

    /// The format it was read from: `v1`, `v2`, `v2-zstd` or `json`.
    #[getter]
    fn format(&self) -> Option<&'static str> {
        self.format.map(Format::name)
    }

    /// The topology: grid extents and the configuration of every layer.
    #[getter]
    fn topology(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let text = serde_json::to_string(self.network.spec()).map_err(wrong)?;
        Ok(py.import("json")?.call_method1("loads", (text,))?.unbind())
    }

    /// The dtype of each array, by `path.role`.
    #[getter]
    fn dtypes(&self) -> BTreeMap<String, &'static str> {
        self.network
            .stores()
            .into_iter()
            .map(|(path, role, store)| (format!("{path}.{role}"), store.dtype().name()))
            .collect()
    }

    /// The bytes of all packed weights.
    #[getter]
    fn weight_bytes(&self) -> usize {
        self.network.stores().iter().map(|(_, _, store)| store.bytes().len()).sum()
    }

    /// The weights by `path.role`, decoded to float32.
    fn weights<'py>(&self, py: Python<'py>) -> PyResult<BTreeMap<String, Bound<'py, PyArrayDyn<f32>>>> {
        let store = |(path, role, store): (&str, loom_core::Role, &loom_core::WeightStore)| {
            let flat = numpy::PyArray1::from_vec(py, store.to_f32());
            Ok((format!("{path}.{role}"), flat.reshape(store.shape().to_vec())?))
        };
        self.network.stores().into_iter().map(store).collect()
    }

    /// Runs the network from a fresh start. Inputs are rounded to float32, batch first.
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
        let inputs = inputs.iter().map(|x| tensor(&x)).collect::<PyResult<Vec<_>>>()?;
        let run = |network: &Network, inputs: &[Tensor]| {
            network.run(inputs, &mut State::default(), &Cpu::best()).map_err(|e| e.to_string())
        };
        let y = py.detach(|| match (reads, skips) {
            _ if mixer => stream::mix(&self.network, &inputs, &mut { run }),
            (None, None) => run(&self.network, &inputs),
            (reads, skips) => {
                run(&build::fed(&self.network, &reads.unwrap_or_default(), &skips.unwrap_or_default())?, &inputs)
            }
        });
        let y = y.map_err(wrong)?;
        numpy::PyArray1::from_slice(py, y.data()).reshape(y.shape().to_vec())
    }

    /// Runs one more position of a sequence: key/value caches go on from the call before.
    #[pyo3(signature = (*inputs))]
    fn decode<'py>(&self, py: Python<'py>, inputs: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let inputs = inputs.iter().map(|x| tensor(&x)).collect::<PyResult<Vec<_>>>()?;
        let y = py.detach(|| {
            let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            self.network.run(&inputs, &mut state, &Cpu::best())
        });
        let y = y.map_err(wrong)?;
        numpy::PyArray1::from_slice(py, y.data()).reshape(y.shape().to_vec())
    }

    /// Forgets what `decode` has kept.
    fn reset(&self) {
        *self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = State::default();
    }

    /// The same network with its weights stored in another dtype.
    #[pyo3(signature = (dtype, numerics = "standard"))]
    fn morph(&self, py: Python<'_>, dtype: &str, numerics: &str) -> PyResult<Self> {
        let known = || Dtype::ALL.iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join(", ");
        let dtype =
            Dtype::find(dtype).ok_or_else(|| wrong(format!("unknown dtype {dtype:?}; expected one of {}", known())))?;
        let found = Numerics::ALL.into_iter().find(|known| known.name() == numerics);
        let numerics =
            found.ok_or_else(|| wrong(format!("unknown numerics {numerics:?}; expected standard or loom")))?;
        let storage = Storage { dtype, numerics, vectors: Vectors::default() };
        let network = py.detach(|| self.network.morph(&storage)).map_err(wrong)?;
        Ok(Self::of(network, None))
    }

    /// Writes an `.entity`, replaced as a whole. Version 1 is refused where it has no field for
    /// something.
    #[pyo3(signature = (path, version = 2))]
    fn save(&self, py: Python<'_>, path: PathBuf, version: u8) -> PyResult<()> {
        let format = match version {
            1 => Format::V1,
            2 => Format::V2,
            _ => return Err(wrong(format!("unknown version {version}; expected 1 or 2"))),
        };
        py.detach(|| Checkpoint::of(&self.network)?.save(&path, format, Unheld::Refuse))
            .map_err(|e| wrong(format!("{}: {e}", path.display())))
    }

    fn __repr__(&self) -> String {
        let kinds: Vec<&str> = self.network.layers().map(|layer| layer.spec().kind().name()).collect();
        format!("<Network {} layer{}: {}>", kinds.len(), if kinds.len() == 1 { "" } else { "s" }, kinds.join(" "))
    }
}

/// The names of the 21 dtypes.
#[pyfunction]
fn dtypes() -> Vec<&'static str> {
    Dtype::ALL.iter().map(|dtype| dtype.name()).collect()
}

/// The Loom runtime.
#[pymodule]
fn _loom(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyNetwork>()?;
    module.add_function(wrap_pyfunction!(dtypes, module)?)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
