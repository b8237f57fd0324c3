//! Runs the forward vectors recorded from the real Loom 0.80.
//!
//! The folder is named by `LOOM_VECTORS` (default `golden/loom-0.80`). Every recorded output
//! must be met within 1e-6 of `max(1, |largest output|)`; a vector that depends on a defect
//! of the original is skipped by the name of that quirk, and its output must then differ,
//! so that a skip cannot hide a pass.
//!
//! The quantiser and decode vectors (`entity/edge_quant.json`, `entity/decode_tables.json`)
//! must be met to the bit, except for integer overflows, which are artefacts of one
//! processor that we saturate instead: those elements are counted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use loom_core::format::{dialect, flat};
use loom_core::layers::{QkNorm, RmsNormSpec, SequentialSpec};
use loom_core::{
    CellSpec, ChildSpec, Cpu, Dtype, LayerSpec, Network, NetworkSpec, Numerics, Role, State, Tensor, WeightStore,
    WeightTable,
};
use serde_json::Value;

/// Defects that we do not copy, and why the recorded output is not ours.
const QUIRKS: &[(&str, &str)] = &[
    ("norm-3d-only-first-batch-rows", "the original leaves later rows of a 3-D input at 0"),
    ("dense-reads-only-batch-rows-of-a-3d-input", "the original ignores all but the first batch rows"),
    ("parallel-ignores-is-disabled", "the original runs disabled branches"),
    ("mha-batch-elements-share-one-cache", "the original lets batch elements attend to earlier ones"),
];

const TOLERANCE: f64 = 1e-6;

enum Outcome {
    Pass,
    Skip(String),
    Fail(String),
}

fn main() -> ExitCode {
    // nextest lists tests before it runs them; this harness is one test.
    let args: Vec<String> = std::env::args().collect();
    if args.iter().any(|a| a == "--list") {
        if !args.iter().any(|a| a == "--ignored") {
            println!("layers: test\ndtypes: test");
        }
        return ExitCode::SUCCESS;
    }
    let wanted = |name: &str| !args.iter().any(|a| a == "layers" || a == "dtypes") || args.iter().any(|a| a == name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // Cargo runs tests in the package's folder; people mean the project's.
    let named = std::env::var_os("LOOM_VECTORS").map_or_else(|| PathBuf::from("golden/loom-0.80"), PathBuf::from);
    let folder = if named.exists() { named } else { root.join(named) };
    let mut green = true;
    for (name, run) in [("layers", layers as fn(&Path) -> Result<Tally, String>), ("dtypes", dtypes)] {
        if !wanted(name) {
            continue;
        }
        match run(&folder) {
            Ok(Tally { passed, failed, skipped }) => {
                println!("{name}: {passed} passed, {failed} failed, {skipped} skipped");
                green &= failed == 0 && passed > 0;
            }
            Err(what) => {
                eprintln!("{what}");
                green = false;
            }
        }
    }
    if green { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    fn note(&mut self, id: &str, outcome: Outcome) {
        match outcome {
            Outcome::Pass => self.passed += 1,
            Outcome::Skip(why) => {
                println!("skip {id}: {why}");
                self.skipped += 1;
            }
            Outcome::Fail(why) => {
                println!("FAIL {id}: {why}");
                self.failed += 1;
            }
        }
    }
}

fn layers(folder: &Path) -> Result<Tally, String> {
    let folder = folder.join("layers");
    let index = read(&folder.join("index.json"))?;
    let mut tally = Tally::default();
    for entry in list(&index["vectors"]) {
        if matches!(text(&entry["kind"]), "forward" | "decoder") {
            let vector = read(&folder.join(text(&entry["file"])))?;
            let quirks: Vec<&str> = list(&entry["quirks"]).iter().map(text).collect();
            tally.note(text(&entry["id"]), judge(&vector, &quirks));
        }
    }
    Ok(tally)
}

fn dtypes(folder: &Path) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let tables = read(&folder.join("entity/decode_tables.json"))?;
    for (name, values) in tables["tables"].as_object().ok_or("no tables")? {
        let outcome = decode_table(name, list(values)).map_or_else(Outcome::Fail, |()| Outcome::Pass);
        tally.note(&format!("decode {name}"), outcome);
    }
    let edges = read(&folder.join("entity/edge_quant.json"))?;
    for case in list(&edges["cases"]) {
        let id = format!("quantise {} at scale {}", text(&case["dtype"]), case["scale_in"]);
        let outcome = match quantise(case) {
            Ok(0) => Outcome::Pass,
            Ok(overflows) => {
                println!("{id}: {overflows} overflowing elements not compared");
                Outcome::Pass
            }
            Err(what) => Outcome::Fail(what),
        };
        tally.note(&id, outcome);
    }
    Ok(tally)
}

fn dtype(name: &str) -> Result<Dtype, String> {
    Dtype::find(name).ok_or_else(|| format!("no dtype {name}"))
}

fn decode_table(name: &str, values: &[Value]) -> Result<(), String> {
    let dtype = dtype(name)?;
    for (code, value) in values.iter().enumerate() {
        let expected = value.as_f64().unwrap_or_else(|| text(value).parse().unwrap_or(f64::NAN));
        let ours = dtype.value(Numerics::Loom, code as u64, 1.0);
        if !same(ours, expected) {
            return Err(format!("code {code:#x} is {ours}, recorded {expected}"));
        }
    }
    Ok(())
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Compares scale, codes and decoded weights; returns how many elements overflow.
fn quantise(case: &Value) -> Result<usize, String> {
    let dtype = dtype(text(&case["dtype"]))?;
    let master: Vec<f32> = hex(&case["master"]).as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let blob = hex(&case["blob"]);
    let scale = match case["scale_in"].as_f64() {
        Some(1.0) => dtype.choose_scale(Numerics::Loom, &master),
        scale => scale.unwrap_or(f64::NAN) as f32,
    };
    let recorded = case["scale_out"].as_f64().unwrap_or(f64::NAN) as f32;
    if scale.to_bits() != recorded.to_bits() {
        return Err(format!("scale {scale}, recorded {recorded}"));
    }
    let ours = dtype.quantise(Numerics::Loom, &master, scale);
    let codes = |bytes: &[u8]| dtype.codes(bytes, master.len());
    let (ours, theirs) = (codes(&ours)?, codes(&blob)?);
    let active = list(&case["active"]);
    let mut overflows = 0;
    for (i, w) in master.iter().enumerate() {
        if overflows_integer(dtype, f64::from(w / scale).round()) {
            overflows += 1;
        } else if ours[i] != theirs[i] {
            return Err(format!("element {i} ({w:e}) has code {:#x}, recorded {:#x}", ours[i], theirs[i]));
        }
        let value = dtype.value(Numerics::Loom, theirs[i], scale) as f32;
        let met = match text(&active[i]) {
            "nonfinite" => !value.is_finite(),
            bits => u32::from_str_radix(bits, 16) == Ok(value.to_bits()),
        };
        if !met {
            return Err(format!("code {:#x} of element {i} is {value:e}, recorded {}", theirs[i], active[i]));
        }
    }
    Ok(overflows)
}

/// Whether the original's conversion of a rounded quotient leaves the range of its integers.
fn overflows_integer(dtype: Dtype, r: f64) -> bool {
    let float = matches!(
        dtype,
        Dtype::Float64
            | Dtype::Float32
            | Dtype::Float16
            | Dtype::BFloat16
            | Dtype::Fp8E4M3
            | Dtype::Fp8E5M2
            | Dtype::Fp4
            | Dtype::Binary
    );
    let limit = match dtype {
        Dtype::Int32 => 31,
        Dtype::Int16 => 15,
        Dtype::Int8 => 7,
        Dtype::Uint64 => 64,
        Dtype::Uint32 => 32,
        Dtype::Uint16 => 16,
        // These clamp, after a conversion to 64 bits.
        _ => 63,
    };
    let limit = 2f64.powi(limit);
    let unsigned = dtype.name().starts_with('u');
    !float && !(r < limit && (r > -limit || (r == -limit && !unsigned)))
}

fn hex(value: &Value) -> Vec<u8> {
    let text = text(value);
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap_or(0)).collect()
}

fn judge(vector: &Value, quirks: &[&str]) -> Outcome {
    let quirk = QUIRKS.iter().find(|(tag, _)| quirks.contains(tag));
    match (run(vector), quirk) {
        (Ok(worst), None) if worst <= TOLERANCE => Outcome::Pass,
        (Ok(worst), None) => Outcome::Fail(format!("off by {worst:e} relative to the largest output")),
        (Ok(worst), Some((tag, _))) if worst <= TOLERANCE => {
            Outcome::Fail(format!("is met, so it does not depend on quirk {tag}: take the tag out of QUIRKS"))
        }
        (Ok(_), Some((tag, why))) => Outcome::Skip(format!("quirk {tag}: {why}")),
        (Err(what), _) => Outcome::Fail(what),
    }
}

/// The largest difference over all calls, relative to `max(1, |largest output|)`.
fn run(vector: &Value) -> Result<f64, String> {
    let weights = list(&vector["weights"]);
    let norm = |path: &str, role: &str| {
        weights.iter().find(|w| text(&w["path"]) == format!("{path}.{role}")).map(|w| floats(&w["values"]))
    };
    let qk_norm = |path: &str| match (norm(path, "q_norm"), head_dim(&vector["network"], path)) {
        (None, _) => QkNorm::None,
        (Some(gain), head) if gain.len() == head => QkNorm::Shared,
        (Some(_), _) => QkNorm::PerHead,
    };
    let mut spec = dialect::parse(&vector["network"].to_string(), qk_norm).map_err(|e| e.to_string())?;
    let mut table = WeightTable::new();
    for entry in weights {
        let path = text(&entry["path"]);
        if path.ends_with("_norm") {
            continue;
        }
        let layer = find(&spec, path).ok_or_else(|| format!("no layer at {path}"))?;
        let mut stores = flat::unpack(&layer, &floats(&entry["values"]))?;
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
        let expected = tensor(&call["output"])?;
        if y.len() != expected.len() {
            return Ok(f64::INFINITY);
        }
        let largest = expected.data().iter().fold(1.0, |m: f64, v| m.max(f64::from(v.abs())));
        for (a, e) in y.data().iter().zip(expected.data()) {
            let difference = (f64::from(*a) - f64::from(*e)).abs();
            worst = if difference.is_nan() { f64::NAN } else { worst.max(difference / largest) };
        }
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
    layers.push(LayerSpec::RmsNorm(RmsNormSpec { dim, eps: 1e-6 }));
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
fn find(spec: &NetworkSpec, path: &str) -> Option<LayerSpec> {
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

fn tensor(value: &Value) -> Result<Tensor, String> {
    let shape = list(&value["shape"]).iter().map(|d| d.as_u64().unwrap_or(0) as usize).collect();
    Tensor::new(shape, floats(&value["values"])).map_err(|e| e.to_string())
}

fn read(path: &Path) -> Result<Value, String> {
    let bytes = std::fs::read(path)
        .map_err(|e| format!("{}: {e}; set LOOM_VECTORS to the folder of vectors", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn floats(value: &Value) -> Vec<f32> {
    list(value).iter().map(|v| v.as_f64().unwrap_or(f64::NAN) as f32).collect()
}
