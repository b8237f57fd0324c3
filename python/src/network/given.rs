//! What a network is given, held against what it reads.

use std::collections::BTreeMap;

use loom_core::{LayerKind, Network, NetworkSpec};

/// Why a network does not run on what it is given.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// An input is read by no layer.
    #[error("{given} inputs were given, and the network reads {read}")]
    Inputs { given: usize, read: usize },
    /// An input is not read by the mixer.
    #[error("{given} inputs were given, and the mixer reads {read}")]
    MixerInputs { given: usize, read: usize },
    /// A layer is named that is not there.
    #[error("{argument} names layer {layer}; the layers are 0 to {last}")]
    NoLayer { argument: &'static str, layer: usize, last: usize },
    /// A layer is named that does not run.
    #[error("{argument} names layer {layer}, which is disabled")]
    Disabled { argument: &'static str, layer: usize },
    /// A layer is to add an input and cannot.
    #[error("skips names layer {layer}, which is {}; only a residual layer adds an input", kind.name())]
    AddsNothing { layer: usize, kind: LayerKind },
    /// A mixer's layers are told what they read.
    #[error("mixer=True says what layers read; leave reads and skips out")]
    FedMixer,
    /// A mixer's run would be a plain one.
    #[error(
        "mixer=True is for networks with an embedding or a residual layer of their own; this one has neither and runs \
         as it is: leave mixer out"
    )]
    NoMixer,
    /// The bridge does not run the mixer.
    #[error(transparent)]
    Mix(#[from] loom_bridge::Error),
    /// The core does not run the network.
    #[error(transparent)]
    Core(#[from] loom_core::Error),
}

/// Refuses inputs that nothing reads.
pub(super) fn check_inputs(spec: &NetworkSpec, given: usize) -> Result<(), Error> {
    let mut cells: Vec<_> = spec.cells.iter().filter(|cell| !cell.disabled).collect();
    cells.sort_by_key(|cell| spec.index(cell.at));
    let first = cells.first().map(|cell| cell.input.unwrap_or(0));
    let named = cells.iter().flat_map(|cell| [cell.input, cell.skip]).flatten();
    let read = named.chain(first).max().map_or(1, |last| last.saturating_add(1));
    if given <= read { Ok(()) } else { Err(Error::Inputs { given, read }) }
}

/// Refuses `reads` and `skips` that name layers which are not there, do not run or cannot add an input.
pub(super) fn check_fed(
    network: &Network,
    reads: &BTreeMap<usize, usize>,
    skips: &BTreeMap<usize, usize>,
) -> Result<(), Error> {
    let spec = network.spec();
    let last = spec.cells.len() - 1;
    for (argument, layer) in reads.keys().map(|i| ("reads", *i)).chain(skips.keys().map(|i| ("skips", *i))) {
        let cell = spec.cells.iter().find(|cell| spec.index(cell.at) == Some(layer));
        let cell = cell.ok_or(Error::NoLayer { argument, layer, last })?;
        if cell.disabled {
            return Err(Error::Disabled { argument, layer });
        }
        let kind = cell.layer.kind();
        if argument == "skips" && kind != LayerKind::Residual {
            return Err(Error::AddsNothing { layer, kind });
        }
    }
    Ok(())
}

/// Refuses a mixer's run where it would be a plain one, and inputs that it does not read.
pub(super) fn check_mixer(network: &Network, given: usize) -> Result<(), Error> {
    let has = |kind| network.layers().any(|layer| layer.spec().kind() == kind);
    let embeds = has(LayerKind::Embedding);
    if !embeds && !has(LayerKind::Residual) {
        return Err(Error::NoMixer);
    }
    let read = if embeds { 2 } else { 1 };
    if given <= read { Ok(()) } else { Err(Error::MixerInputs { given, read }) }
}
