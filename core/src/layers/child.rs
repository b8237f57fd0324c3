//! Layers inside others: their own, or links to layers of the grid.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, LayerSpec};
use crate::coord::Coord;

/// One branch of a parallel container or one step of a sequential one: a layer of its own,
/// or a link to the layer at a grid position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChildSpec {
    /// Whether the container passes it over.
    #[serde(default)]
    pub disabled: bool,
    /// The child's own layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerSpec>,
    /// The position of the layer to run in its place, with that layer's own weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Coord>,
}

impl From<LayerSpec> for ChildSpec {
    fn from(layer: LayerSpec) -> Self {
        Self { disabled: false, layer: Some(layer), link: None }
    }
}

/// A layer inside a container.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) disabled: bool,
    pub(crate) body: ChildBody,
}

/// A child's own layer, or the position of the one that runs in its place.
#[derive(Clone, Debug)]
pub(crate) enum ChildBody {
    Own(Box<Layer>),
    Link(Coord),
}

/// Where links lead.
pub(crate) trait Links {
    /// The layer at a position, if it lies inside the grid.
    fn at(&self, at: Coord) -> Option<&Layer>;
}

impl Child {
    /// Resolves a link to the layer it runs.
    pub(crate) fn layer<'a>(&'a self, links: &'a dyn Links) -> Option<&'a Layer> {
        match &self.body {
            ChildBody::Own(layer) => Some(layer),
            ChildBody::Link(target) => links.at(*target),
        }
    }
}
