//! Checkpoints: every recorded file is read and written to the byte, from masters and after a
//! load, and travels through every format without a change.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use loom_core::format::{BlobId, Checkpoint, Encoding, Fault, Format, OnLoss, Part, Reading, q4_0};
use loom_core::{Cpu, Dtype, Error, Numerics, State, Storage, Tensor, Vectors};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::common::{Outcome, TOLERANCE, Tally, distance, hex, judge, list, read, singles, text};
use crate::dtypes::{dtype, forward_quirk};

pub(crate) fn run(folder: &Path) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let folder = folder.join("entity");
    let index = read(&folder.join("index.json"))?;
    for item in list(&index["items"]) {
        item_of(&folder, item, &mut tally);
    }
    for item in list(&index["transformer"]) {
        let outcome = transformer(&folder, item).map_or_else(Outcome::Fail, |()| Outcome::Pass);
        tally.note(text(&item["file"]), outcome);
    }
    for (i, case) in list(&read(&folder.join("q4_0.json"))?["cases"]).iter().enumerate() {
        tally.note(&format!("q4_0 case {i}"), q4_case(case).map_or_else(Outcome::Fail, |()| Outcome::Pass));
    }
    for (i, case) in list(&read(&folder.join("malformed.json"))?["cases"]).iter().enumerate() {
        let id = format!("malformed {i}: {}", text(&case["label"]));
        tally.note(&id, malformed(case).map_or_else(Outcome::Fail, |()| Outcome::Pass));
    }
    Ok(tally)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(bytes: &[u8]) -> Result<Checkpoint, String> {
    Checkpoint::parse(bytes.to_vec(), Reading::Strict).map_err(|e| format!("not read: {e}"))
}

fn write(checkpoint: &Checkpoint, format: Format) -> Result<Vec<u8>, String> {
    checkpoint.to_bytes(format, OnLoss::Refuse).map_err(|e| format!("not written as {format}: {e}"))
}

fn same(what: &str, ours: &[u8], expected: &str) -> Result<(), String> {
    if sha256(ours) == expected { Ok(()) } else { Err(format!("{what}: {} bytes with another digest", ours.len())) }
}

/// The file of an item and its JSON twin, each as one outcome for each way of making it.
fn item_of(folder: &Path, item: &Value, tally: &mut Tally) {
    let file = text(&item["file"]);
    let mut note = |what: &str, result: Result<(), String>| {
        tally.note(&format!("{what} {file}"), result.map_or_else(Outcome::Fail, |()| Outcome::Pass));
    };
    let load = |name: &str| std::fs::read(folder.join(name)).map_err(|e| format!("{name}: {e}"));
    let expected = text(&item["sha256"]);
    note(
        "loaded and saved",
        load(file).and_then(|bytes| {
            let checkpoint = parse(&bytes)?;
            same("saved", &write(&checkpoint, Format::V1)?, expected)?;
            // What the original holds after loading it, where that differs.
            let again = item["resave_sha256"].as_str().unwrap_or(expected);
            same("saved as the original would after loading", &write(&checkpoint.as_loom(), Format::V1)?, again)?;
            through(&checkpoint, Format::V1, expected)
        }),
    );
    if let Some(json) = item["json"].as_str() {
        let expected = text(&item["json_sha256"]);
        note(
            "JSON of",
            load(json).and_then(|bytes| {
                let checkpoint = parse(&bytes)?;
                same("saved", &write(&checkpoint, Format::Json)?, expected)?;
                let again = item["json_resave_sha256"].as_str().unwrap_or(expected);
                same("saved as the original would after loading", &write(&checkpoint.as_loom(), Format::Json)?, again)?;
                through(&checkpoint, Format::Json, expected)
            }),
        );
    }
    if let Some(master) = item["master"].as_str() {
        note(
            "from masters",
            load(master).and_then(|bytes| {
                let checkpoint = Checkpoint::parse(bytes, Reading::Loom).map_err(|e| e.to_string())?;
                let checkpoint = match text(&item["dtype"]) {
                    "mixed" => checkpoint,
                    name => {
                        let storage =
                            Storage { dtype: dtype(name)?, numerics: Numerics::Loom, vectors: Vectors::Stored };
                        checkpoint.morphed(&storage).map_err(|e| e.to_string())?
                    }
                };
                let ours = write(&checkpoint, Format::V1)?;
                if sha256(&ours) != expected {
                    let (with_overflows, n) = overflown(&checkpoint, ours)?;
                    println!("{file}: {n} overflowing elements as amd64 has them");
                    return same(".entity", &with_overflows, expected);
                }
                match item["json_sha256"].as_str() {
                    Some(expected) => same(".json", &write(&checkpoint, Format::Json)?, expected),
                    None => Ok(()),
                }
            }),
        );
    }
    if item["forward"].is_object() {
        let outcome =
            judge(load(file).and_then(|bytes| forward(&parse(&bytes)?, &item["forward"])), forward_quirk(item));
        tally.note(&format!("forward of {file}"), outcome);
    }
}

/// A file of ours with integer overflows as the original's processor has them (`dtypes.md`
/// section 4), where we saturate; and how many there are.
fn overflown(checkpoint: &Checkpoint, mut file: Vec<u8>) -> Result<(Vec<u8>, usize), String> {
    let length = u64::from_le_bytes(file[12..20].try_into().map_err(|_| "no header")?) as usize;
    let header: Value = serde_json::from_slice(&file[20..20 + length]).map_err(|e| e.to_string())?;
    let mut n = 0;
    for (id, blob) in checkpoint.blobs().filter(|(id, _)| matches!(id, BlobId::Layer(_, Part::Master))) {
        let Encoding::Codes(dtype, _) = blob.coding().encoding else { continue };
        let master = singles(&checkpoint.bytes(id).map_err(|e| e.to_string())?);
        let entry = list(&header["blobs"]).iter().find(|entry| text(&entry["path"]) == id.to_string());
        let entry = entry.ok_or_else(|| format!("no blob {id}"))?;
        let scale = entry["scale"].as_f64().unwrap_or(0.0) as f32;
        let start = 20 + length + entry["offset"].as_u64().unwrap_or(0) as usize;
        for (i, w) in master.iter().enumerate() {
            let r = f64::from(w / scale).round();
            let wide = |v: f64, low: f64, high: f64| if v >= low && v < high { v as i64 } else { low as i64 };
            let (to_i32, to_i64) = (wide(r, -(2f64.powi(31)), 2f64.powi(31)), wide(r, -(2f64.powi(63)), 2f64.powi(63)));
            let wrapped = match dtype {
                Dtype::Int16 => to_i32,
                Dtype::Int8 => to_i64,
                _ => continue,
            };
            let width = dtype.bits() / 8;
            let (place, wrapped) = (start + i * width, &wrapped.to_le_bytes()[..width]);
            n += usize::from(file[place..place + width] != *wrapped);
            file[place..place + width].copy_from_slice(wrapped);
        }
    }
    Ok((file, n))
}

/// Through version 2 and back: the same bytes of `format`, and version 2 itself is stable.
fn through(checkpoint: &Checkpoint, format: Format, expected: &str) -> Result<(), String> {
    for between in [Format::V2, Format::V2Zstd] {
        let bytes = write(checkpoint, between)?;
        let again = parse(&bytes)?;
        if write(&again, between)? != bytes {
            return Err(format!("{between} written again differs"));
        }
        same(&format!("by way of {between}"), &write(&again, format)?, expected)?;
    }
    Ok(())
}

fn forward(checkpoint: &Checkpoint, recorded: &Value) -> Result<f64, String> {
    let network = checkpoint.network().map_err(|e| e.to_string())?;
    let shape = list(&recorded["input_shape"]).iter().map(|d| d.as_u64().unwrap_or(0) as usize).collect();
    let x = Tensor::new(shape, singles(&hex(&recorded["input"]))).map_err(|e| e.to_string())?;
    let y = network.run(&[x], &mut State::default(), &Cpu::best()).map_err(|e| e.to_string())?;
    let output = recorded.get("output_after_entity_reload").unwrap_or(&recorded["output"]);
    Ok(distance(y.data(), &singles(&hex(output))))
}

fn transformer(folder: &Path, item: &Value) -> Result<(), String> {
    let bytes = std::fs::read(folder.join(text(&item["file"]))).map_err(|e| e.to_string())?;
    let checkpoint = parse(&bytes)?;
    let expected = text(&item["sha256"]);
    same("saved", &write(&checkpoint, Format::V1)?, expected)?;
    through(&checkpoint, Format::V1, expected)?;
    let transformer = checkpoint.transformer().map_err(|e| e.to_string())?;
    let config = &item["config"];
    let (vocab, hidden) =
        (config["vocab"].as_u64().unwrap_or(0) as usize, config["hid"].as_u64().unwrap_or(0) as usize);
    if transformer.embeddings().shape() != [vocab, hidden] || transformer.head().shape() != [vocab, hidden] {
        return Err("embeddings or head have another shape".into());
    }
    let recorded = &item["forward_hidden"];
    if recorded.is_object() {
        let shape = list(&recorded["input_shape"]).iter().map(|d| d.as_u64().unwrap_or(0) as usize).collect();
        let x = Tensor::new(shape, singles(&hex(&recorded["input"]))).map_err(|e| e.to_string())?;
        let y = transformer.decoder().run(&[x], &mut State::default(), &Cpu::best()).map_err(|e| e.to_string())?;
        let off = distance(y.data(), &singles(&hex(&recorded["output"])));
        if off > TOLERANCE {
            return Err(format!("the hidden state is off by {off:e}"));
        }
    }
    Ok(())
}

fn q4_case(case: &Value) -> Result<(), String> {
    let packed = q4_0(&singles(&hex(&case["weights"])));
    let (scales, codes) = (hex(&case["scales"]), hex(&case["packed_nonpad"]));
    let words = case["packed_words"].as_u64().unwrap_or(0) as usize;
    let mut expected = Vec::new();
    expected.extend_from_slice(&((scales.len() / 4) as u32).to_le_bytes());
    expected.extend_from_slice(&(words as u32).to_le_bytes());
    expected.extend_from_slice(&scales);
    expected.extend_from_slice(&codes);
    expected.resize(8 + scales.len() + 4 * words, 0);
    if packed == expected { Ok(()) } else { Err("packed differently".into()) }
}

/// What a strict reader makes of inputs that the original takes: `entity.md` section 8 says what
/// is an error. Those it takes and we do too are named here; every other one must be refused.
const TAKEN: &[&str] = &["json compact", "json base64 newline", "blob order reversed", "header trailing whitespace"];

/// Inputs that the reading of the original takes as well: its defaults, and what it ignores.
const TAKEN_AS_LOOM: &[&str] = &[
    "trailing bytes",
    "flags 0xffff",
    "json format_version 99",
    "key case differs",
    "unknown keys",
    "blob0 path 'layers.00'",
    "blob0 path 'layers.+0'",
    "layer0 type='bogus'",
    "layer0 dtype='bogus'",
    "layer0 seq_length=-5",
    "json layers null",
];

fn malformed(case: &Value) -> Result<(), String> {
    let label = text(&case["label"]);
    let bytes = STANDARD.decode(text(&case["b64"])).map_err(|e| e.to_string())?;
    let selected = text(&case["api"]).strip_prefix("layer:").map(|index| index.parse::<usize>().ok());
    let strict = Checkpoint::parse(bytes.clone(), Reading::Strict);
    let loom = Checkpoint::parse(bytes.clone(), Reading::Loom);
    if let Some(index) = selected {
        // An index that does not exist is an error here; the others load that layer alone.
        let checkpoint = strict.map_err(|e| e.to_string())?;
        let layers = index.into_iter().collect();
        let loaded = checkpoint.network_with(&layers);
        return match (index, loaded) {
            (Some(index @ (0 | 1)), Ok(network)) => {
                let alone = network.layers().enumerate().all(|(i, layer)| layer.is_loaded() == (i == index));
                if alone { Ok(()) } else { Err("other layers were loaded".into()) }
            }
            (Some(0 | 1), Err(e)) => Err(e.to_string()),
            (Some(_), Ok(_)) => Err("a layer that does not exist was loaded".into()),
            _ => Ok(()),
        };
    }
    let accepts = text(&case["peer"]) == "accept";
    let format = if text(&case["api"]) == "json" { Format::Json } else { Format::V1 };
    let resaved = |checkpoint: &Checkpoint| match case["peer_resave_sha256"].as_str() {
        Some(expected) => same("saved as the original would", &write(checkpoint, format)?, expected),
        None => Ok(()),
    };
    let by_byte = label.starts_with("byte ");
    match (&strict, &loom) {
        (Err(Error::Format { place, what, .. }), _) if place.is_empty() || what.is_empty() => {
            Err("the error does not say what and where".into())
        }
        (Err(Error::Format { .. }), Err(Error::Format { .. }))
            if !TAKEN.contains(&label) && !TAKEN_AS_LOOM.contains(&label) =>
        {
            Ok(())
        }
        (Err(Error::Format { .. }), Ok(loom)) if TAKEN_AS_LOOM.contains(&label) || (by_byte && accepts) => {
            resaved(loom)
        }
        (Ok(strict), Ok(_)) if TAKEN.contains(&label) => resaved(&strict.as_loom()),
        // A flipped letter of a name or key that files may write in any case, or of a number that
        // no checksum guards, as in the original.
        (Ok(strict), _) if by_byte && accepts => resaved(&strict.as_loom()),
        (strict, loom) => Err(format!("strict: {:?}, as Loom: {:?}", fault(strict), fault(loom))),
    }
}

fn fault(result: &Result<Checkpoint, Error>) -> Result<(), Option<Fault>> {
    match result {
        Ok(_) => Ok(()),
        Err(Error::Format { fault, .. }) => Err(Some(*fault)),
        Err(_) => Err(None),
    }
}
