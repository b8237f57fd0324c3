//! The volumetric network: cells in a `(z, y, x, l)` grid, run in index order.
//!
//! A layer's index is `((z * rows + y) * cols + x) * layers_per_cell + l`. Forward visits
//! indices in ascending order and hands each layer the previous one's output; disabled
//! layers are passed over. A cell may instead read one of the network's inputs, and a
//! residual cell may take one as its skip: so models with two inputs need no special case.
//!
//! A [`Network`] never changes once built. What survives a call (key/value caches, the
//! history and the replacements of metacognition) lives in a [`State`].

#[cfg(feature = "gpu")]
mod gpu;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::Cpu;
use crate::coord::{Coord, Extents};
use crate::error::{ConfigError, Error, Problem, Result};
use crate::layers::{ChildBody, Layer, LayerSpec, Links, Run, State};
use crate::role::Role;
use crate::store::{Storage, WeightStore, WeightTable, Weights};
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
pub use gpu::footprint;
#[cfg(all(test, feature = "gpu"))]
pub(crate) use gpu::record;

/// How many layers one cell may run, links followed.
const MOST_RUNS: usize = 1 << 16;

/// One cell of a [`NetworkSpec`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CellSpec {
    /// Where it stands.
    pub at: Coord,
    /// Whether forward passes it over.
    #[serde(default)]
    pub disabled: bool,
    /// The network input to read in place of the previous layer's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<usize>,
    /// The network input that a residual layer adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<usize>,
    /// The layer.
    pub layer: LayerSpec,
}

/// The topology of a network, without weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Cells along z.
    pub depth: usize,
    /// Cells along y.
    pub rows: usize,
    /// Cells along x.
    pub cols: usize,
    /// Layers in each cell.
    pub layers_per_cell: usize,
    /// One entry for each place of the grid, in any order.
    pub cells: Vec<CellSpec>,
}

impl NetworkSpec {
    /// A single cell that holds `layers` one after the other.
    #[must_use]
    pub fn stack(layers: Vec<LayerSpec>) -> Self {
        let cells = layers.into_iter().enumerate().map(|(l, layer)| CellSpec {
            at: Coord { l, ..Coord::default() },
            disabled: false,
            input: None,
            skip: None,
            layer,
        });
        let cells: Vec<_> = cells.collect();
        Self { depth: 1, rows: 1, cols: 1, layers_per_cell: cells.len(), cells }
    }

    /// The index of a position in forward order, if it lies inside the grid.
    #[must_use]
    pub fn index(&self, at: Coord) -> Option<usize> {
        self.extents().index(at)
    }

    /// How far the grid reaches along each axis.
    #[must_use]
    pub fn extents(&self) -> Extents {
        let &Self { depth, rows, cols, layers_per_cell, .. } = self;
        Extents { depth, rows, cols, layers_per_cell }
    }
}

#[derive(Clone, Debug)]
struct Cell {
    disabled: bool,
    input: Option<usize>,
    skip: Option<usize>,
    layer: Layer,
}

/// A network with its weights.
#[derive(Clone, Debug)]
pub struct Network {
    spec: NetworkSpec,
    cells: Vec<Cell>,
    /// Ties a [`State`] to the network that filled it.
    id: u64,
}

impl Network {
    /// Joins a topology and its weights, taking what it uses out of `weights`.
    ///
    /// # Errors
    /// [`Error::GridExtent`] and [`Error::Position`] when the cells do not fill the grid
    /// exactly; [`Error::Layer`] when a configuration contradicts itself, a role is missing,
    /// superfluous or has the wrong shape, or remote links run in a circle;
    /// [`Error::StrayWeights`] when weights are left over.
    pub fn build(spec: NetworkSpec, weights: &mut WeightTable) -> Result<Self> {
        Self::build_with(spec, weights, None)
    }

    /// As [`Network::build`], with the weights of some layers of the grid alone; running one of
    /// the others is an error. `None` means all.
    pub(crate) fn build_with(
        spec: NetworkSpec,
        weights: &mut WeightTable,
        loaded: Option<&BTreeSet<usize>>,
    ) -> Result<Self> {
        let extents = spec.extents();
        let Extents { depth, rows, cols, layers_per_cell } = extents;
        let bad_extent = Error::GridExtent { depth, rows, cols, layers_per_cell };
        let places = extents.places().ok_or(bad_extent)?;
        let mut order = vec![None; places.min(spec.cells.len())];
        for (i, cell) in spec.cells.iter().enumerate() {
            let outside = Error::Position { at: cell.at, what: "lies outside the grid" };
            let index = spec.index(cell.at).ok_or(outside)?;
            let twice = Error::Position { at: cell.at, what: "holds two layers" };
            match order.get_mut(index) {
                Some(slot @ None) => *slot = Some(i),
                Some(Some(_)) => return Err(twice),
                // Fewer cells than places: some place before this one must be empty.
                None => {}
            }
        }
        if spec.cells.len() != places || order.iter().any(Option::is_none) {
            let index = order.iter().position(Option::is_none).unwrap_or(order.len());
            let at = extents.position(index);
            return Err(Error::Position { at, what: "has no layer; every place of the grid needs one" });
        }
        let mut sites = 0;
        let mut cells = Vec::with_capacity(places);
        for (index, i) in order.into_iter().flatten().enumerate() {
            let cell = &spec.cells[i];
            let path = format!("layers.{index}");
            let absent = loaded.is_some_and(|loaded| !loaded.contains(&index));
            let layer = Layer::build(extents, cell.layer.clone(), cell.at, path, absent, &mut sites, weights)?;
            cells.push(Cell { disabled: cell.disabled, input: cell.input, skip: cell.skip, layer });
        }
        if let Some(path) = weights.keys().next() {
            return Err(Error::StrayWeights { path: path.clone() });
        }
        let network = Self { spec, cells, id: fresh_id() };
        let mut costs = BTreeMap::new();
        for cell in &network.cells {
            network.cost(&cell.layer, cell.layer.at(), &mut costs)?;
        }
        Ok(network)
    }

    /// The same topology with other weights: `change` makes those of each layer, containers
    /// before what they hold.
    ///
    /// # Errors
    /// Those of `change`; [`Error::Layer`] when it returns other roles or shapes.
    pub fn with_weights(&self, change: &mut dyn FnMut(&Layer) -> Result<Weights>) -> Result<Self> {
        let mut network = Self { id: fresh_id(), ..self.clone() };
        network.cells.iter_mut().try_for_each(|cell| cell.layer.change_weights(change))?;
        Ok(network)
    }

    /// The same network with its weights stored in another type.
    ///
    /// # Errors
    /// [`Error::Layer`] when a weight is beyond the range of the type.
    pub fn morph(&self, storage: &Storage) -> Result<Self> {
        self.with_weights(&mut |layer| layer.morphed(storage))
    }

    /// Every store, containers' own children included: the layer's path, the role, the weights.
    #[must_use]
    pub fn stores(&self) -> Vec<(&str, Role, &WeightStore)> {
        let mut found = Vec::new();
        self.cells.iter().for_each(|cell| cell.layer.collect_stores(&mut found));
        found
    }

    /// The topology.
    #[must_use]
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// The top-level layers in forward order, disabled ones included.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.cells.iter().map(|cell| &cell.layer)
    }

    /// Runs the network. The first layer reads `inputs[0]` unless its cell says otherwise.
    ///
    /// # Errors
    /// [`Error::Layer`] when an input cannot be read as whole units of what a layer
    /// consumes, a named input is missing, or branches do not fit together.
    pub fn run(&self, inputs: &[Tensor], state: &mut State, cpu: &Cpu) -> Result<Tensor> {
        state.claim(self.id)?;
        self.check_inputs(inputs.len())?;
        let replaced = state.replaced.values().flat_map(|layer| layer.weights().values()).map(WeightStore::len);
        let held = inputs.iter().map(Tensor::len).chain(replaced).fold(0, usize::saturating_add);
        let mut run = Run { cpu: *cpu, links: self, state, visits: BTreeMap::new(), held };
        let mut current: Option<Tensor> = None;
        for cell in self.cells.iter().filter(|cell| !cell.disabled) {
            let named = |index: usize| {
                let problem = Problem::NoInput { index, given: inputs.len() };
                inputs.get(index).ok_or_else(|| cell.layer.error(problem))
            };
            let x = match (cell.input, &current) {
                (Some(index), _) => named(index)?,
                (None, Some(previous)) => previous,
                (None, None) => named(0)?,
            };
            let skip = cell.skip.map(named).transpose()?;
            let y = run.layer(&cell.layer, x, skip)?;
            run.state.saw(x.len() + y.len());
            current = Some(y);
        }
        match (current, inputs.first()) {
            (Some(y), _) => Ok(y),
            (None, Some(x)) => Ok(x.clone()),
            (None, None) => Err(self.cells[0].layer.error(Problem::NoInput { index: 0, given: 0 })),
        }
    }

    /// How many inputs the network reads: one, unless its cells name others.
    #[must_use]
    pub fn inputs(&self) -> usize {
        let named = self.cells.iter().flat_map(|cell| [cell.input, cell.skip]).flatten();
        named.map(|index| index.saturating_add(1)).fold(1, usize::max)
    }

    /// `Err` when there are more inputs than the network reads.
    pub(crate) fn check_inputs(&self, given: usize) -> Result<()> {
        let reads = self.inputs();
        if given > reads { Err(Error::Inputs { given, reads }) } else { Ok(()) }
    }

    /// How many layers run when `layer` does, links followed. `costs` holds what is known of
    /// grid positions: `None` while a position is being counted, so that a circle shows.
    fn cost(&self, layer: &Layer, at: Coord, costs: &mut BTreeMap<Coord, Option<usize>>) -> Result<usize> {
        let top = layer.at() == at && self.at(at).is_some_and(|top| std::ptr::eq(top, layer));
        if top {
            match costs.get(&at) {
                Some(Some(cost)) => return Ok(*cost),
                Some(None) => return Err(layer.error(Problem::LinkCircle { target: at })),
                None => costs.insert(at, None),
            };
        }
        let mut cost = 1usize;
        for child in layer.children() {
            let inner = match (&child.body, child.layer(self)) {
                (ChildBody::Own(own), _) => self.cost(own, own.at(), costs)?,
                (ChildBody::Link(target), Some(linked)) => self.cost(linked, *target, costs)?,
                (ChildBody::Link(_), None) => 0,
            };
            cost = cost.saturating_add(inner);
        }
        if cost > MOST_RUNS {
            return Err(layer.error(ConfigError::Unfolded { most: MOST_RUNS }.into()));
        }
        if top {
            costs.insert(at, Some(cost));
        }
        Ok(cost)
    }
}

impl Links for Network {
    fn at(&self, at: Coord) -> Option<&Layer> {
        self.spec.index(at).map(|index| &self.cells[index].layer)
    }
}

fn fresh_id() -> u64 {
    static BUILT: AtomicU64 = AtomicU64::new(0);
    BUILT.fetch_add(1, Ordering::Relaxed)
}
