//! What Rust knows of bedrocks, planets, dtypes and layers, for Python to ask.

use loom_bedrocks::of_the_original;
use loom_bedrocks::planets::PLANETS;
use loom_core::{Dtype, LayerSpec};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// The bedrocks of the original bridge, in the order of every table: what a layer stream can say.
#[pyfunction]
pub(crate) fn bedrocks() -> Vec<&'static str> {
    of_the_original().to_vec()
}

/// The planets, in the order of every table.
#[pyfunction]
pub(crate) fn planets() -> Vec<&'static str> {
    PLANETS.iter().map(|planet| planet.id).collect()
}

/// The names of the 21 dtypes.
#[pyfunction]
pub(crate) fn dtypes() -> Vec<&'static str> {
    Dtype::ALL.iter().map(|dtype| dtype.name()).collect()
}

/// A layer as manifests have it, `{kind: configuration}` in JSON: the same with every default said, the shapes of its
/// weights by role in Loom's layout, and the layers inside by the last part of their paths.
#[pyfunction]
#[expect(clippy::type_complexity, reason = "Python takes it apart at once")]
pub(crate) fn layer<'py>(py: Python<'py>, spec: &str) -> PyResult<(String, Bound<'py, PyDict>, Vec<(String, String)>)> {
    let wrong = |error: serde_json::Error| PyValueError::new_err(error.to_string());
    let spec: LayerSpec = serde_json::from_str(spec).map_err(wrong)?;
    spec.check().map_err(|what| PyValueError::new_err(format!("{}: {what}", spec.kind().name())))?;
    let roles = PyDict::new(py);
    for role in spec.roles() {
        roles.set_item(role.role.name(), PyTuple::new(py, role.shape)?)?;
    }
    let own = |(name, child): (String, loom_core::ChildSpec)| child.layer.map(|layer| (name, layer));
    let text = |layer: &LayerSpec| serde_json::to_string(layer).map_err(wrong);
    let inside: PyResult<_> =
        spec.children().into_iter().filter_map(own).map(|(name, layer)| Ok((name, text(&layer)?))).collect();
    Ok((text(&spec.with_defaults())?, roles, inside?))
}
