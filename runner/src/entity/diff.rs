//! Two checkpoints beside each other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use loom_core::format::{Checkpoint, LayerPath, Record, activation_name, kind_name};
use loom_core::{Role, WeightStore};

use super::Report;

/// Lines for what differs, and a last one that says how much.
pub(super) fn diff(names: [&Path; 2], a: &Checkpoint, b: &Checkpoint) -> anyhow::Result<Report> {
    let mut text = String::new();
    let (left, right) = (a.topology(), b.topology());
    if left.extents() != right.extents() {
        let _ = writeln!(
            text,
            "grid: {:?} in {}, {:?} in {}",
            left.extents(),
            names[0].display(),
            right.extents(),
            names[1].display()
        );
    }
    let records = |checkpoint: &Checkpoint| -> BTreeMap<LayerPath, Record> {
        checkpoint.topology().walk().into_iter().map(|(path, record)| (path, record.clone())).collect()
    };
    let (left, right) = (records(a), records(b));
    let mut topology = text.lines().count();
    for path in left.keys().chain(right.keys().filter(|path| !left.contains_key(path))) {
        let lines = match (left.get(path), right.get(path)) {
            (Some(l), Some(r)) => settings(l, r),
            (Some(_), None) => vec![format!("only in {}", names[0].display())],
            _ => vec![format!("only in {}", names[1].display())],
        };
        topology += lines.len();
        lines.iter().for_each(|line| {
            let _ = writeln!(text, "{path}: {line}");
        });
    }
    let stores = |checkpoint: &Checkpoint| -> anyhow::Result<BTreeMap<(LayerPath, Role), WeightStore>> {
        let mut found = BTreeMap::new();
        for (path, _) in checkpoint.topology().walk() {
            for (role, store) in checkpoint.stores(&path)? {
                found.insert((path.clone(), role), store);
            }
        }
        Ok(found)
    };
    let (left, right) = (stores(a)?, stores(b)?);
    let (mut differing, mut worst) = (0, 0.0f64);
    for (path, role) in left.keys().chain(right.keys().filter(|key| !left.contains_key(key))) {
        let key = (path.clone(), *role);
        let line = match (left.get(&key), right.get(&key)) {
            (Some(l), Some(r)) if l.shape() != r.shape() => Some(format!("shape {:?} and {:?}", l.shape(), r.shape())),
            (Some(l), Some(r)) => {
                let mut largest = (0.0f64, 0, 0.0, 0.0);
                for (i, (x, y)) in l.iter().zip(r.iter()).enumerate() {
                    if (x - y).abs() > largest.0 {
                        largest = ((x - y).abs(), i, x, y);
                    }
                }
                let (delta, i, x, y) = largest;
                worst = worst.max(delta);
                (delta > 0.0)
                    .then(|| format!("max |Δ| {delta:.3e} at [{i}]: {x:e} and {y:e} ({} and {})", l.dtype(), r.dtype()))
            }
            (Some(_), None) => Some(format!("only in {}", names[0].display())),
            _ => Some(format!("only in {}", names[1].display())),
        };
        if let Some(line) = line {
            differing += 1;
            let _ = writeln!(text, "{path} {role}: {line}");
        }
    }
    let green = topology == 0 && differing == 0;
    let last = match green {
        true => "same topology, same weights".to_string(),
        false => format!("{topology} differences of topology, {differing} arrays differ, max |Δ| {worst:.3e}"),
    };
    let _ = writeln!(text, "{last}");
    Ok(Report { text, green })
}

/// What two records say differently.
fn settings(a: &Record, b: &Record) -> Vec<String> {
    let mut lines = Vec::new();
    let mut compare = |name: &str, x: &str, y: &str| {
        if x != y {
            lines.push(format!("{name} {} and {}", or_none(x), or_none(y)));
        }
    };
    compare("type", kind_name(a.kind()), kind_name(b.kind()));
    compare("activation", activation_name(a.activation()), activation_name(b.activation()));
    let (left, right): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (a.settings().into_iter().collect(), b.settings().into_iter().collect());
    for key in left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))) {
        let text = |side: &BTreeMap<&'static str, String>| side.get(key).cloned().unwrap_or_default();
        compare(key, &text(&left), &text(&right));
    }
    lines
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}
