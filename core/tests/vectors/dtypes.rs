//! Quantiser and decode vectors, and networks of every layer kind in every type.
//!
//! Quantiser vectors must be met to the bit, except for integer overflows, which are artefacts
//! of one processor that we saturate instead: those elements are counted.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use loom_core::format::topology;
use loom_core::layers::QkNorm;
use loom_core::layers::packing;
use loom_core::{
    Cpu, Dtype, Layer, Magnitudes, Network, Numerics, Scales, State, Storage, Tensor, Vectors, WeightTable, Weights,
};
use serde_json::Value;

use crate::common::{Outcome, Tally, distance, hex, judge, list, read, singles, text};
use crate::layers::find;
use crate::training;

pub(crate) fn run(folder: &Path) -> Result<Tally, String> {
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
    let index = read(&folder.join("entity/index.json"))?;
    for item in list(&index["items"]).iter().filter(|item| item["forward"].is_object()) {
        network(folder, item, &mut tally)?;
    }
    let index = read(&folder.join("layers/index.json"))?;
    for entry in list(&index["vectors"]) {
        let replay = match text(&entry["kind"]) {
            "native-update" => training::native_update,
            "dtype-train" => training::train,
            _ => continue,
        };
        let vector = read(&folder.join("layers").join(text(&entry["file"])))?;
        tally.note(text(&entry["id"]), replay(&vector).map_or_else(Outcome::Fail, |()| Outcome::Pass));
    }
    Ok(tally)
}

/// One network in one type: its native codes and scales, and its forward.
fn network(folder: &Path, item: &Value, tally: &mut Tally) -> Result<(), String> {
    let id = format!("{} {}", text(&item["kind"]), text(&item["dtype"]));
    let mut master = read(&folder.join("entity").join(text(&item["master"])))?;
    let mut recorded = match item["json"].as_str() {
        Some(file) => Some(read(&folder.join("entity").join(file))?),
        None => None,
    };
    let network = match build(&mut master, item) {
        Ok(network) => network,
        Err(what) => {
            tally.note(&id, Outcome::Fail(what));
            return Ok(());
        }
    };
    if let Some(recorded) = &mut recorded {
        let outcome = codes(&network, &take_weights(recorded)).map_or_else(Outcome::Fail, |()| Outcome::Pass);
        tally.note(&format!("codes of {id}"), outcome);
    }
    tally.note(&format!("forward of {id}"), judge(forward(&network, &item["forward"]), forward_quirk(item)));
    Ok(())
}

/// The quirk that an item's recorded output depends on.
pub(crate) fn forward_quirk(item: &Value) -> &'static [&'static str] {
    match (text(&item["kind"]), dtype(text(&item["dtype"]))) {
        ("convt1" | "convt2" | "convt3", Ok(dtype)) if !matches!(dtype, Dtype::Float32 | Dtype::Float64) => {
            &["convtransposed-zero-for-storage-types"][..]
        }
        ("kmeans", Ok(dtype)) if dtype.bits() >= 8 && dtype.name().contains("int") => &["kmeans-int-uniform"],
        _ => &[],
    }
}

fn forward(network: &Network, recorded: &Value) -> Result<f64, String> {
    let shape = list(&recorded["input_shape"]).iter().map(|d| d.as_u64().unwrap_or(0) as usize).collect();
    let x = Tensor::new(shape, singles(&hex(&recorded["input"]))).map_err(|e| e.to_string())?;
    let run = |cpu| network.run(std::slice::from_ref(&x), &mut State::default(), &cpu).map_err(|e| e.to_string());
    let y = run(Cpu::scalar())?;
    if y != run(Cpu::best())? {
        return Err("the vector path and the scalar path differ".into());
    }
    Ok(distance(y.data(), &singles(&hex(&recorded["output"]))))
}

/// What a document says of one layer's weights: dtype, base64 of its array, scale.
struct Native {
    dtype: String,
    array: Vec<u8>,
    scale: f32,
}

/// Takes the weights out of a persistence document, by path, and leaves a topology.
fn take_weights(document: &mut Value) -> BTreeMap<String, Native> {
    fn visit(layer: &mut Value, path: &str, found: &mut BTreeMap<String, Native>) {
        let Some(keys) = layer.as_object_mut() else { return };
        let dtype = keys.remove("dtype").as_ref().map(|v| text(v).to_string()).unwrap_or_default();
        let array = keys.remove("weights").map(|v| STANDARD.decode(text(&v)).unwrap_or_default());
        let scale = keys.remove("scale").and_then(|v| v.as_f64()).unwrap_or(0.0) as f32;
        keys.remove("native");
        if let Some(array) = array {
            found.insert(path.to_string(), Native { dtype, array, scale });
        }
        for key in ["parallel_branches", "sequential_layers"] {
            for (i, child) in keys.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
                visit(child, &format!("{path}.{key}.{i}"), found);
            }
        }
        if let Some(child) = keys.get_mut("meta_observed_layer") {
            visit(child, &format!("{path}.meta_observed_layer"), found);
        }
    }
    let mut found = BTreeMap::new();
    if let Some(keys) = document.as_object_mut() {
        keys.remove("id");
    }
    let size = |key: &str| document[key].as_u64().unwrap_or(1);
    let [rows, cols, cell] = ["rows", "cols", "layers_per_cell"].map(size);
    for layer in document["layers"].as_array_mut().into_iter().flatten() {
        let [z, y, x, l] = ["z", "y", "x", "l"].map(|key| layer[key].as_u64().unwrap_or(0));
        visit(layer, &format!("layers.{}", ((z * rows + y) * cols + x) * cell + l), &mut found);
    }
    found
}

/// The network of a master document with every layer in the item's type, or in its own where
/// the item mixes them.
fn build(master: &mut Value, item: &Value) -> Result<Network, String> {
    let natives = take_weights(master);
    let spec = topology::parse(&master.to_string(), |_| QkNorm::None).map_err(|e| e.to_string())?;
    let mut table = WeightTable::new();
    for (path, native) in &natives {
        let layer = find(&spec, path).ok_or_else(|| format!("no layer at {path}"))?;
        table.insert(path.clone(), packing::unpack(&layer, &singles(&native.array)).map_err(|e| e.to_string())?);
    }
    let network = Network::build(spec, &mut table).map_err(|e| e.to_string())?;
    let mut morphed = BTreeMap::new();
    for path in natives.keys() {
        let name = match text(&item["dtype"]) {
            "mixed" => &natives[path].dtype,
            one => one,
        };
        let storage = Storage { dtype: dtype(name)?, numerics: Numerics::Loom, vectors: Vectors::Stored };
        morphed.insert(path.clone(), network.morph(&storage).map_err(|e| e.to_string())?);
    }
    let weights = |layer: &Layer| match morphed.get(layer.path()) {
        Some(network) => {
            let of = network.stores().into_iter().filter(|(path, ..)| *path == layer.path());
            of.map(|(_, role, store)| (role, store.clone())).collect()
        }
        None => layer.weights().clone(),
    };
    network.with_weights(&mut |layer| Ok(weights(layer))).map_err(|e| e.to_string())
}

/// Every layer's codes in packing order, and its scale, against the recorded ones.
fn codes(network: &Network, recorded: &BTreeMap<String, Native>) -> Result<(), String> {
    for (path, native) in recorded {
        let layer = find(network.spec(), path).ok_or_else(|| format!("no layer at {path}"))?;
        let stores: Weights = network
            .stores()
            .into_iter()
            .filter(|(at, ..)| at == path)
            .map(|(_, role, store)| (role, store.clone()))
            .collect();
        let first = stores.values().next().ok_or_else(|| format!("{path} has no weights"))?;
        let (dtype, Scales::Tensor(affine)) = (first.dtype(), first.scales());
        if dtype.name() != native.dtype || affine.scale.to_bits() != native.scale.to_bits() {
            let (ours, theirs) = (affine.scale, native.scale);
            return Err(format!("{path} is {dtype} at scale {ours:e}, recorded {} at {theirs:e}", native.dtype));
        }
        let ours = packing::pack_codes(&layer, &stores).map_err(|e| e.to_string())?;
        if ours != native.array {
            return Err(format!("{path}: codes {ours:02x?}, recorded {:02x?}", native.array));
        }
    }
    Ok(())
}

pub(crate) fn dtype(name: &str) -> Result<Dtype, String> {
    Dtype::find(name).ok_or_else(|| format!("no dtype {name}"))
}

fn decode_table(name: &str, values: &[Value]) -> Result<(), String> {
    let dtype = dtype(name)?;
    for (code, value) in values.iter().enumerate() {
        let expected = value.as_f64().unwrap_or_else(|| text(value).parse().unwrap_or(f64::NAN));
        let ours = dtype.value(Numerics::Loom, code as u64, dtype.affine(Numerics::Loom, 1.0));
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
    let master = singles(&hex(&case["master"]));
    let weights = || master.iter().map(|&w| f64::from(w));
    let blob = hex(&case["blob"]);
    let scale = match case["scale_in"].as_f64() {
        Some(1.0) => dtype.choose(Numerics::Loom, &Magnitudes::of(weights())).scale,
        scale => scale.unwrap_or(f64::NAN) as f32,
    };
    let recorded = case["scale_out"].as_f64().unwrap_or(f64::NAN) as f32;
    if scale.to_bits() != recorded.to_bits() {
        return Err(format!("scale {scale}, recorded {recorded}"));
    }
    let affine = dtype.affine(Numerics::Loom, scale);
    let ours = dtype.quantise(Numerics::Loom, weights(), affine);
    let codes = |bytes: &[u8]| dtype.codes(bytes, master.len()).map_err(|e| e.to_string());
    let (ours, theirs) = (codes(&ours)?, codes(&blob)?);
    let active = list(&case["active"]);
    let mut overflows = 0;
    for (i, w) in master.iter().enumerate() {
        if overflows_integer(dtype, f64::from(w / scale).round()) {
            overflows += 1;
        } else if ours[i] != theirs[i] {
            return Err(format!("element {i} ({w:e}) has code {:#x}, recorded {:#x}", ours[i], theirs[i]));
        }
        let value = dtype.value(Numerics::Loom, theirs[i], affine) as f32;
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
pub(crate) fn overflows_integer(dtype: Dtype, r: f64) -> bool {
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
