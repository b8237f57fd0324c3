//! Reading vectors, counting outcomes, and comparing outputs.

use std::path::Path;

use loom_core::Tensor;
use serde_json::Value;

/// How far an output may be from the recorded one, relative to `max(1, |largest output|)`: the
/// original rounds partial sums to f32 after every tile.
pub(crate) const TOLERANCE: f64 = 1e-6;

/// Defects that we do not copy, and why the recorded output is not ours.
const QUIRKS: &[(&str, &str)] = &[
    ("norm-3d-only-first-batch-rows", "the original leaves later rows of a 3-D input at 0"),
    ("dense-reads-only-batch-rows-of-a-3d-input", "the original ignores all but the first batch rows"),
    ("parallel-ignores-is-disabled", "the original runs disabled branches"),
    ("mha-batch-elements-share-one-cache", "the original lets batch elements attend to earlier ones"),
    ("convtransposed-zero-for-storage-types", "the original puts out zeros for every type but float32 and float64"),
    ("kmeans-int-uniform", "the original's output is uniform for 8- to 64-bit integers"),
];

pub(crate) enum Outcome {
    Pass,
    Skip(String),
    Fail(String),
}

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    pub(crate) fn note(&mut self, id: &str, outcome: Outcome) {
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

/// The outcome of a comparison that ended `worst` away, given the quirks it depends on.
pub(crate) fn judge(worst: Result<f64, String>, quirks: &[&str]) -> Outcome {
    let quirk = QUIRKS.iter().find(|(tag, _)| quirks.contains(tag));
    match (worst, quirk) {
        (Ok(worst), None) if worst <= TOLERANCE => Outcome::Pass,
        (Ok(worst), None) => Outcome::Fail(format!("off by {worst:e} relative to the largest output")),
        (Ok(worst), Some((tag, _))) if worst <= TOLERANCE => {
            Outcome::Fail(format!("is met, so it does not depend on quirk {tag}: take the tag out of QUIRKS"))
        }
        (Ok(_), Some((tag, why))) => Outcome::Skip(format!("quirk {tag}: {why}")),
        (Err(what), _) => Outcome::Fail(what),
    }
}

/// The largest difference, relative to `max(1, |largest expected|)`; infinite when lengths differ.
pub(crate) fn distance(ours: &[f32], expected: &[f32]) -> f64 {
    if ours.len() != expected.len() {
        return f64::INFINITY;
    }
    let largest = expected.iter().fold(1.0, |m: f64, v| m.max(f64::from(v.abs())));
    ours.iter().zip(expected).fold(0.0, |worst: f64, (a, e)| {
        let difference = (f64::from(*a) - f64::from(*e)).abs() / largest;
        if difference.is_nan() { f64::NAN } else { worst.max(difference) }
    })
}

/// Bytes of a hex string.
pub(crate) fn hex(value: &Value) -> Vec<u8> {
    let text = text(value);
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap_or(0)).collect()
}

/// Little-endian singles.
pub(crate) fn singles(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

pub(crate) fn tensor(value: &Value) -> Result<Tensor, String> {
    let shape = list(&value["shape"]).iter().map(|d| d.as_u64().unwrap_or(0) as usize).collect();
    Tensor::new(shape, floats(&value["values"])).map_err(|e| e.to_string())
}

pub(crate) fn read(path: &Path) -> Result<Value, String> {
    let bytes = std::fs::read(path)
        .map_err(|e| format!("{}: {e}; set LOOM_VECTORS to the folder of vectors", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(crate) fn floats(value: &Value) -> Vec<f32> {
    list(value).iter().map(|v| v.as_f64().unwrap_or(f64::NAN) as f32).collect()
}
