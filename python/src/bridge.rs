//! The original bridge in this process.

use std::fmt::Display;

use loom_bedrocks::names::unknown;
use loom_bedrocks::npz::{self, Arrays};
use loom_bridge::{Answer, ArrayOptions, Error, LiveModel, Options, Source, Stored, Version, cpu};
use loom_core::Dtype;
use numpy::{PyArray1, PyArrayMethods as _, PyReadonlyArrayDyn, PyUntypedArrayMethods as _};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyDict;

use crate::work;

/// Serves a layer stream, one JSON document, as the program `loom-stream` does, and gives its answer.
#[pyfunction]
pub(crate) fn stream(py: Python<'_>, document: PyBackedBytes) -> PyResult<Bound<'_, PyDict>> {
    let served = work::run(py, move || loom_bridge::serve(&document[..], &Options::default(), cpu))?;
    answer(py, served)
}

/// Writes the `.entity` of a model, in JSON, whose weights are arrays by `PATH.ROLE` in the planet's own layout;
/// runs it on `fixture`, or runs nothing.
#[pyfunction]
#[pyo3(signature = (model, arrays, *, output, fixture = None, entity_version = 1, dtype = None))]
pub(crate) fn stream_arrays<'py>(
    py: Python<'py>,
    model: &str,
    arrays: &Bound<'py, PyDict>,
    output: String,
    fixture: Option<&Bound<'py, PyDict>>,
    entity_version: u8,
    dtype: Option<&str>,
) -> PyResult<Bound<'py, PyDict>> {
    let model: LiveModel = serde_json::from_str(model).map_err(|e| refused(format!("the model: {e}")))?;
    let version = match entity_version {
        1 => Version::One,
        2 => Version::Two,
        other => return Err(refused(format!("entity_version is {other}; 1 or 2"))),
    };
    let known = || Dtype::ALL.iter().map(|dtype| dtype.name());
    let found = |name| Dtype::find(name).ok_or_else(|| refused(unknown("dtype", name, known())));
    let dtype = dtype.map(found).transpose()?;
    let arrays = taken(arrays)?;
    let fixture = fixture.map(taken).transpose()?;
    let served = work::run(py, move || {
        let options = ArrayOptions {
            skip_infer: fixture.is_none(),
            fixture: fixture.map(Source::Memory),
            output: &output,
            models_dir: "",
            stored: Stored { dtype, numerics: None, version },
        };
        loom_bridge::serve_arrays(&model, Source::Memory(arrays), options, cpu)
    })?;
    answer(py, served)
}

/// NumPy arrays of float32 and float64, copied.
fn taken(arrays: &Bound<'_, PyDict>) -> PyResult<Arrays> {
    let one = |(name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
        let name: String = name.extract()?;
        let (shape, data) = if let Ok(array) = value.extract::<PyReadonlyArrayDyn<'_, f32>>() {
            (array.shape().to_vec(), npz::Data::F32(array.as_slice()?.to_vec()))
        } else if let Ok(array) = value.extract::<PyReadonlyArrayDyn<'_, f64>>() {
            (array.shape().to_vec(), npz::Data::F64(array.as_slice()?.to_vec()))
        } else {
            let dtype = value.getattr("dtype").and_then(|dtype| dtype.str())?;
            return Err(refused(format!("array {name} has dtype {dtype}; expected float32 or float64")));
        };
        Ok((name, npz::Array { shape, data, sha256: String::new() }))
    };
    arrays.iter().map(one).collect()
}

/// The answer as the program's has it: what is zero or empty is left out; outputs are one array.
fn answer(py: Python<'_>, served: Result<Answer, Error>) -> PyResult<Bound<'_, PyDict>> {
    let answer = served.map_err(|error| {
        let program = if error.is_of_document() { "loom-stream: " } else { "" };
        refused(format!("{program}{error}"))
    })?;
    let told = PyDict::new(py);
    told.set_item("status", answer.status)?;
    told.set_item("entity_path", answer.entity_path)?;
    let counts = [
        ("layer_count", answer.layer_count),
        ("weight_bytes", answer.weight_bytes),
        ("output_dim", answer.output_dim),
        ("sample_count", answer.sample_count),
    ];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        told.set_item(name, count)?;
    }
    if !answer.outputs.is_empty() {
        let shape = [answer.outputs.len(), answer.output_dim];
        let wide: Vec<f64> = answer.outputs.iter().flatten().map(|&value| f64::from(value)).collect();
        told.set_item("outputs", PyArray1::from_vec(py, wide).reshape(shape)?)?;
    }
    Ok(told)
}

fn refused(what: impl Display) -> PyErr {
    PyRuntimeError::new_err(format!("loom-stream failed: {what}"))
}
