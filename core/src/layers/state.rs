//! What survives from one run of a network to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{KvCache, Layer, MetaState};
use crate::error::{Error, Result};

/// What survives from one run of a network to the next. A fresh one starts afresh; a used
/// one belongs to the network that filled it.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The network that filled it.
    network: Option<u64>,
    /// By layer, and by which of its visits in one run.
    pub(crate) caches: BTreeMap<(usize, usize), KvCache>,
    pub(crate) replaced: BTreeMap<usize, Arc<Layer>>,
    pub(crate) meta: MetaState,
    pub(crate) calls: BTreeMap<usize, u64>,
    widest: usize,
    /// The most elements that a run may hold, where it is not [`State::ELEMENTS`].
    most: Option<usize>,
}

impl State {
    /// The most elements that a run may hold at a time unless [`State::allow`] says otherwise: 1 GiB
    /// of activations, so that a network cannot ask for more memory than there is.
    pub const ELEMENTS: usize = 1 << 28;

    /// Lets runs hold as many elements at a time.
    pub fn allow(&mut self, elements: usize) {
        self.most = Some(elements);
    }

    /// Ties it to the network with this id, unless it belongs to another.
    pub(crate) fn claim(&mut self, network: u64) -> Result<()> {
        if *self.network.get_or_insert(network) == network { Ok(()) } else { Err(Error::ForeignState) }
    }

    /// Notes how many elements a layer of the grid has read and written together.
    pub(crate) fn saw(&mut self, elements: usize) {
        self.widest = self.widest.max(elements);
    }

    /// The most elements that a run may hold at a time.
    pub(crate) fn most(&self) -> usize {
        self.most.unwrap_or(Self::ELEMENTS)
    }

    /// The most elements that a layer of the grid has read and written together so far.
    #[must_use]
    pub fn widest(&self) -> usize {
        self.widest
    }
}
