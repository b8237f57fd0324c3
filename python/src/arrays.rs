//! NumPy arrays in and out.

use loom_core::Tensor;
use numpy::{PyArrayDyn, PyArrayMethods as _, PyReadonlyArrayDyn, PyUntypedArrayMethods as _};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// The inputs of a network, copied.
///
/// # Errors
/// Those of `planetbridging.arrays.float32`.
pub(crate) fn inputs(inputs: &Bound<'_, PyTuple>) -> PyResult<Vec<Tensor>> {
    let float32 = inputs.py().import("planetbridging.arrays")?.getattr("float32")?;
    let one = |(i, x): (usize, Bound<'_, PyAny>)| {
        let array: PyReadonlyArrayDyn<'_, f32> = float32.call1((format!("input {i}"), x))?.extract()?;
        Tensor::new(array.shape().to_vec(), array.as_slice()?.to_vec())
            .map_err(|e| PyValueError::new_err(format!("input {i}: {e}")))
    };
    inputs.iter().enumerate().map(one).collect()
}

/// A tensor as an array of Python's.
pub(crate) fn array(py: Python<'_>, y: Tensor) -> PyResult<Bound<'_, PyArrayDyn<f32>>> {
    let shape = y.shape().to_vec();
    numpy::PyArray1::from_vec(py, y.into_data()).reshape(shape)
}
