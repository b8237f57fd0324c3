//! Two checkpoints beside each other: all that they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use loom_core::format::{BlobId, Checkpoint, LayerPath, Record};
use loom_core::{Role, WeightStore};

use crate::places::End;
use crate::plain::{name, one_line};

/// Lines for what differs, and a last one that says how much.
pub(super) fn diff(files: [&Path; 2], a: &Checkpoint, b: &Checkpoint) -> anyhow::Result<(String, End)> {
    let names = files.map(name);
    let only = |left: bool| format!("only in {}", names[usize::from(!left)]);
    let mut text = String::new();
    let (left, right) = (a.topology(), b.topology());
    if left.extents() != right.extents() {
        let (x, y) = (left.extents(), right.extents());
        let _ = writeln!(text, "grid: {x:?} in {}, {y:?} in {}", names[0], names[1]);
    }
    let (left, right) = (records(a), records(b));
    for path in union(&left, &right) {
        match (left.get(path), right.get(path)) {
            (Some(l), Some(r)) => {
                for (key, x, y) in l.differences(r) {
                    let _ = writeln!(text, "{path}: {key} {} and {}", or_none(&x), or_none(&y));
                }
            }
            (l, _) => {
                let _ = writeln!(text, "{path}: {}", only(l.is_some()));
            }
        }
    }
    let (left, right) = (section(a), section(b));
    for key in union(&left, &right) {
        let [x, y] = [left.get(key), right.get(key)].map(|value| value.map_or("", String::as_str));
        if x != y {
            let _ = writeln!(text, "transformer: {key} {} and {}", or_none(x), or_none(y));
        }
    }
    let topology = text.lines().count();

    let (left, right) = (stores(a).with_context(|| names[0].clone())?, stores(b).with_context(|| names[1].clone())?);
    let (mut differing, mut worst) = (0, 0.0f64);
    for array in union(&left, &right) {
        let line = match (left.get(array), right.get(array)) {
            (Some(l), Some(r)) if l.shape() != r.shape() => Some(format!("shape {:?} and {:?}", l.shape(), r.shape())),
            (Some(l), Some(r)) => furthest(l, r).map(|(delta, i, x, y)| {
                worst = worst.max(delta);
                format!("max |Δ| {delta:.3e} at [{i}]: {x:e} and {y:e} ({} and {})", l.dtype(), r.dtype())
            }),
            (l, _) => Some(only(l.is_some())),
        };
        if let Some(line) = line {
            differing += 1;
            let _ = writeln!(text, "{array}: {line}");
        }
    }
    let green = topology == 0 && differing == 0;
    let last = match green {
        true => "same topology, same weights".to_string(),
        false => format!("{topology} differences of topology, {differing} arrays differ, max |Δ| {worst:.3e}"),
    };
    let _ = writeln!(text, "{last}");
    Ok((text, if green { End::Green } else { End::Red }))
}

fn records(checkpoint: &Checkpoint) -> BTreeMap<LayerPath, &Record> {
    checkpoint.topology().walk().into_iter().collect()
}

fn section(checkpoint: &Checkpoint) -> BTreeMap<String, String> {
    checkpoint.decoder().map(|(decoder, dims)| decoder.settings(dims).into_iter().collect()).unwrap_or_default()
}

/// An array of a checkpoint: a role of a layer, or what belongs to no layer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Array {
    Layer(LayerPath, Role),
    Other(BlobId),
}

impl std::fmt::Display for Array {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Array::Layer(path, role) => write!(f, "{path} {role}"),
            Array::Other(id) => id.fmt(f),
        }
    }
}

fn stores(checkpoint: &Checkpoint) -> anyhow::Result<BTreeMap<Array, WeightStore>> {
    let mut found = BTreeMap::new();
    for (path, _) in checkpoint.topology().walk() {
        for (role, store) in checkpoint.stores(&path)? {
            found.insert(Array::Layer(path.clone(), role), store);
        }
    }
    for (id, _) in checkpoint.blobs().filter(|(id, _)| !matches!(id, BlobId::Layer(..))) {
        found.insert(Array::Other(id.clone()), checkpoint.global(id)?);
    }
    Ok(found)
}

/// The largest difference, where it is, and both numbers there.
fn furthest(a: &WeightStore, b: &WeightStore) -> Option<(f64, usize, f64, f64)> {
    let mut largest: Option<(f64, usize, f64, f64)> = None;
    for (i, (x, y)) in a.iter().zip(b.iter()).enumerate() {
        let delta = (x - y).abs();
        if x != y && largest.is_none_or(|(most, ..)| delta > most) {
            largest = Some((delta, i, x, y));
        }
    }
    largest
}

/// The keys of both, in order.
fn union<'a, K: Ord, A, B>(a: &'a BTreeMap<K, A>, b: &'a BTreeMap<K, B>) -> BTreeSet<&'a K> {
    a.keys().chain(b.keys()).collect()
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "(none)".into() } else { one_line(text).into_owned() }
}
