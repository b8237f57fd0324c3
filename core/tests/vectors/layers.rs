//! Forward vectors in f32.

use std::path::Path;

use loom_core::format::topology;
use loom_core::layers::packing;
use loom_core::layers::{QkNorm, RmsNormSpec, SequentialSpec};
use loom_core::{CellSpec, ChildSpec, Cpu, LayerSpec, Network, NetworkSpec, Role, State, WeightStore, WeightTable};
use serde_json::Value;

use crate::common::{Tally, distance, floats, judge, list, read, tensor, text};

pub(crate) fn run(folder: &Path) -> Result<Tally, String> {
    let folder = folder.join("layers");
    let index = read(&folder.join("index.json"))?;
    let mut tally = Tally::default();
    for entry in list(&index["vectors"]) {
        if matches!(text(&entry["kind"]), "forward" | "decoder") {
            let vector = read(&folder.join(text(&entry["file"])))?;
            let quirks: Vec<&str> = list(&entry["quirks"]).iter().map(text).collect();
            tally.note(text(&entry["id"]), judge(forward(&vector), &quirks));
        }
    }
    Ok(tally)
}

/// The largest difference over all calls, relative to `max(1, |largest output|)`.
fn forward(vector: &Value) -> Result<f64, String> {
    let weights = list(&vector["weights"]);
    let norm = |path: &str, role: &str| {
        weights.iter().find(|w| text(&w["path"]) == format!("{path}.{role}")).map(|w| floats(&w["values"]))
    };
    let qk_norm = |path: &str| match (norm(path, "q_norm"), head_dim(&vector["network"], path)) {
        (None, _) => QkNorm::None,
        (Some(gain), head) if gain.len() == head => QkNorm::Shared,
        (Some(_), _) => QkNorm::PerHead,
    };
    let mut spec = topology::parse(&vector["network"].to_string(), qk_norm).map_err(|e| e.to_string())?;
    let mut table = WeightTable::new();
    for entry in weights {
        let path = text(&entry["path"]);
        if path.ends_with("_norm") {
            continue;
        }
        let layer = find(&spec, path).ok_or_else(|| format!("no layer at {path}"))?;
        let mut stores = packing::unpack(&layer, &floats(&entry["values"])).map_err(|e| e.to_string())?;
        for (role, name) in [(Role::QNorm, "q_norm"), (Role::KNorm, "k_norm")] {
            if let Some(gain) = norm(path, name) {
                stores.insert(role, WeightStore::f32(vec![gain.len()], gain).map_err(|e| e.to_string())?);
            }
        }
        table.insert(path.to_string(), stores);
    }
    if text(&vector["kind"]) == "decoder" {
        decoder(&mut spec, &mut table, floats(&vector["final_norm"]))?;
    }
    let network = Network::build(spec, &mut table).map_err(|e| e.to_string())?;
    let mut worst: f64 = 0.0;
    let (mut reference, mut fast) = (State::default(), State::default());
    for call in list(&vector["calls"]) {
        let x = tensor(&call["input"])?;
        let y = network.run(std::slice::from_ref(&x), &mut reference, &Cpu::scalar()).map_err(|e| e.to_string())?;
        let z = network.run(&[x], &mut fast, &Cpu::best()).map_err(|e| e.to_string())?;
        if y != z {
            return Err("the vector path and the scalar path differ".into());
        }
        let difference = distance(y.data(), tensor(&call["output"])?.data());
        worst = if difference.is_nan() { f64::NAN } else { worst.max(difference) };
    }
    Ok(worst)
}

/// The decoder helper's chain: `x += f(norm(x))` for every pair of norm and block, then a final norm.
fn decoder(spec: &mut NetworkSpec, table: &mut WeightTable, final_norm: Vec<f32>) -> Result<(), String> {
    let blocks: Vec<LayerSpec> = spec.cells.iter().map(|cell| cell.layer.clone()).collect();
    let mut layers = Vec::new();
    let mut moved = WeightTable::new();
    for (i, pair) in blocks.chunks(2).enumerate() {
        let inner = SequentialSpec { steps: pair.iter().cloned().map(ChildSpec::from).collect() };
        let steps = vec![LayerSpec::Sequential(inner).into(), LayerSpec::Residual(Default::default()).into()];
        layers.push(LayerSpec::Sequential(SequentialSpec { steps }));
        for half in 0..2 {
            let stores = table.remove(&format!("layers.{}", 2 * i + half)).ok_or("a decoder layer has no weights")?;
            moved.insert(format!("layers.{i}.sequential_layers.0.sequential_layers.{half}"), stores);
        }
    }
    let dim = final_norm.len();
    let gamma = WeightStore::f32(vec![dim], final_norm).map_err(|e| e.to_string())?;
    moved.insert(format!("layers.{}", layers.len()), [(Role::Gamma, gamma)].into());
    layers.push(LayerSpec::RmsNorm(RmsNormSpec { dim, eps: 1e-6, unit_offset: false }));
    *spec = NetworkSpec::stack(layers);
    *table = moved;
    Ok(())
}

fn head_dim(network: &Value, path: &str) -> usize {
    let size = |layer: &Value, key: &str| layer[key].as_u64().unwrap_or(0) as usize;
    let index: usize = path.trim_start_matches("layers.").parse().unwrap_or(0);
    let layer = &network["layers"][index];
    match size(layer, "head_dim") {
        0 => size(layer, "d_model") / size(layer, "num_heads").max(1),
        head => head,
    }
}

/// The layer at a path of the original: `layers.1.sequential_layers.0`, …
pub(crate) fn find(spec: &NetworkSpec, path: &str) -> Option<LayerSpec> {
    let mut parts = path.split('.');
    let index: usize = (parts.next()? == "layers").then(|| parts.next()?.parse().ok())??;
    let at = |cell: &&CellSpec| spec.index(cell.at) == Some(index);
    let mut layer = spec.cells.iter().find(at)?.layer.clone();
    while let Some(part) = parts.next() {
        let name = if part == "meta_observed_layer" { part.to_string() } else { format!("{part}.{}", parts.next()?) };
        layer = layer.children().into_iter().find(|(child, _)| *child == name)?.1.layer?;
    }
    Some(layer)
}
