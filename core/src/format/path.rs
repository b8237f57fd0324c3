//! Paths of layers, those inside others included.

#![forbid(unsafe_code)]

use std::fmt;

use super::record::Key;

/// The path of a layer: `layers.<index>`, then its steps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerPath {
    /// Index in the grid.
    pub index: usize,
    /// From there to the layer itself.
    pub steps: Vec<Step>,
}

impl LayerPath {
    /// A layer of the grid.
    #[must_use]
    pub fn top(index: usize) -> Self {
        Self { index, steps: Vec::new() }
    }

    pub(super) fn inner(&self, step: Step) -> Self {
        Self { index: self.index, steps: self.steps.iter().copied().chain([step]).collect() }
    }
}

impl fmt::Display for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layers.{}", self.index)?;
        self.steps.iter().try_for_each(|step| write!(f, ".{step}"))
    }
}

/// One step from a layer to one inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A branch of a parallel container.
    Branch(usize),
    /// A step of a sequential container.
    Sequential(usize),
    /// The layer that metacognition watches.
    Observed,
    /// The gate of a parallel container in filter mode.
    Gate,
}

impl Step {
    pub(super) fn of(key: Key, index: usize) -> Option<Step> {
        Some(match key {
            Key::ParallelBranches => Step::Branch(index),
            Key::SequentialLayers => Step::Sequential(index),
            Key::MetaObservedLayer => Step::Observed,
            Key::FilterGate => Step::Gate,
            _ => return None,
        })
    }

    /// The key that holds the layer, and its position there.
    pub(super) fn place(self) -> (Key, usize) {
        match self {
            Step::Branch(i) => (Key::ParallelBranches, i),
            Step::Sequential(i) => (Key::SequentialLayers, i),
            Step::Observed => (Key::MetaObservedLayer, 0),
            Step::Gate => (Key::FilterGate, 0),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Branch(i) => write!(f, "parallel_branches.{i}"),
            Step::Sequential(i) => write!(f, "sequential_layers.{i}"),
            Step::Observed => f.write_str("meta_observed_layer"),
            Step::Gate => f.write_str("filter_gate"),
        }
    }
}
