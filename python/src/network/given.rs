//! What a network is given, held against what it reads.

use std::collections::BTreeMap;

use loom_core::{LayerKind, Network, NetworkSpec};

/// `Err` with a sentence unless every input is read.
pub(super) fn check_inputs(spec: &NetworkSpec, given: usize) -> Result<(), String> {
    let mut cells: Vec<_> = spec.cells.iter().filter(|cell| !cell.disabled).collect();
    cells.sort_by_key(|cell| spec.index(cell.at));
    let first = cells.first().map(|cell| cell.input.unwrap_or(0));
    let named = cells.iter().flat_map(|cell| [cell.input, cell.skip]).flatten();
    let read = named.chain(first).max().map_or(1, |last| last.saturating_add(1));
    if given <= read { Ok(()) } else { Err(format!("{given} inputs were given, and the network reads {read}")) }
}

/// `Err` with a sentence unless `reads` and `skips` name layers that run and can.
pub(super) fn check_fed(
    network: &Network,
    reads: &BTreeMap<usize, usize>,
    skips: &BTreeMap<usize, usize>,
) -> Result<(), String> {
    let spec = network.spec();
    let count = spec.cells.len();
    for (what, index) in reads.keys().map(|i| ("reads", *i)).chain(skips.keys().map(|i| ("skips", *i))) {
        let cell = spec.cells.iter().find(|cell| spec.index(cell.at) == Some(index));
        let cell = cell.ok_or_else(|| format!("{what} names layer {index}; the layers are 0 to {}", count - 1))?;
        if cell.disabled {
            return Err(format!("{what} names layer {index}, which is disabled"));
        }
        let kind = cell.layer.kind();
        if what == "skips" && kind != LayerKind::Residual {
            return Err(format!(
                "skips names layer {index}, which is {}; only a residual layer adds an input",
                kind.name()
            ));
        }
    }
    Ok(())
}

/// `Err` with a sentence unless a flat mixer's run of the network differs from a plain one.
pub(super) fn check_mixer(network: &Network, given: usize) -> Result<(), String> {
    let has = |kind| network.layers().any(|layer| layer.spec().kind() == kind);
    let embeds = has(LayerKind::Embedding);
    if !embeds && !has(LayerKind::Residual) {
        return Err("mixer=True is for networks with an embedding or a residual layer of their own; this one has \
                    neither and runs as it is: leave mixer out"
            .into());
    }
    let read = if embeds { 2 } else { 1 };
    if given <= read { Ok(()) } else { Err(format!("{given} inputs were given, and the mixer reads {read}")) }
}
