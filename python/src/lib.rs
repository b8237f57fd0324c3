//! `planetbridging._loom`: networks of checkpoints in Python, NumPy in and out.
//!
//! The interpreter is released while a network is read, run, morphed or written, and signals are
//! answered meanwhile.

mod arrays;
mod bridge;
mod catalogue;
mod network;
mod work;

use pyo3::prelude::*;

/// The Loom runtime.
#[pymodule]
fn _loom(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<network::PyNetwork>()?;
    module.add_function(wrap_pyfunction!(catalogue::bedrocks, module)?)?;
    module.add_function(wrap_pyfunction!(catalogue::planets, module)?)?;
    module.add_function(wrap_pyfunction!(catalogue::dtypes, module)?)?;
    module.add_function(wrap_pyfunction!(catalogue::layer, module)?)?;
    module.add_function(wrap_pyfunction!(network::unpickle, module)?)?;
    module.add_function(wrap_pyfunction!(bridge::stream, module)?)?;
    module.add_function(wrap_pyfunction!(bridge::stream_arrays, module)?)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
