//! What a checkpoint holds, for people and for programs.

use std::fmt::Write as _;
use std::path::Path;

use loom_core::Numerics;
use loom_core::format::{BlobId, Checkpoint, Encoding, Format, LayerPath, Part, activation_name, kind_name};
use serde::Serialize;

use crate::plain::{name, one_line};
use crate::render::kib;

/// Everything that is shown.
#[derive(Serialize)]
pub(super) struct Seen {
    format: &'static str,
    bytes: u64,
    depth: usize,
    rows: usize,
    cols: usize,
    layers_per_cell: usize,
    layers: Vec<SeenLayer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transformer: Option<SeenDecoder>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blobs: Vec<SeenBlob>,
    weights: usize,
    weight_bytes: usize,
}

#[derive(Serialize)]
struct SeenLayer {
    path: String,
    #[serde(skip)]
    depth: usize,
    kind: &'static str,
    activation: &'static str,
    dtype: &'static str,
    #[serde(serialize_with = "as_map")]
    settings: Vec<(&'static str, String)>,
    blobs: Vec<SeenBlob>,
}

#[derive(Serialize)]
struct SeenBlob {
    id: String,
    #[serde(skip)]
    part: Option<Part>,
    dtype: String,
    numerics: Option<Numerics>,
    scale: f32,
    weights: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct SeenDecoder {
    architecture: String,
    hidden_size: u64,
    vocab_size: u64,
    weight_dtype: String,
}

impl Seen {
    pub(super) fn of(checkpoint: &Checkpoint, format: Format, bytes: u64) -> Self {
        let [depth, rows, cols, layers_per_cell] = checkpoint.topology().extents().axes();
        let seen = |id: &BlobId, blob: &loom_core::format::Blob| SeenBlob {
            id: id.to_string(),
            part: if let BlobId::Layer(_, part) = id { Some(*part) } else { None },
            dtype: blob.coding().encoding.to_string(),
            numerics: match blob.coding().encoding {
                Encoding::Codes(_, numerics) => Some(numerics),
                Encoding::Q4_0 => None,
            },
            scale: blob.coding().scale,
            weights: checkpoint.weights(id),
            bytes: blob.len(),
        };
        let mut by_path: std::collections::BTreeMap<&LayerPath, Vec<SeenBlob>> = std::collections::BTreeMap::new();
        let mut blobs = Vec::new();
        for (id, blob) in checkpoint.blobs() {
            match id {
                BlobId::Layer(path, _) => by_path.entry(path).or_default().push(seen(id, blob)),
                _ => blobs.push(seen(id, blob)),
            }
        }
        let layers: Vec<SeenLayer> = checkpoint
            .topology()
            .walk()
            .into_iter()
            .map(|(path, record)| SeenLayer {
                depth: path.steps.len(),
                kind: kind_name(record.kind()),
                activation: activation_name(record.activation()),
                dtype: record.dtype().name(),
                settings: record.settings(),
                blobs: by_path.remove(&path).unwrap_or_default(),
                path: path.to_string(),
            })
            .collect();
        let all = || layers.iter().flat_map(|layer| &layer.blobs).chain(&blobs);
        let (weights, weight_bytes) = all().fold((0, 0), |(n, b), blob| (n + blob.weights, b + blob.bytes));
        let transformer = checkpoint.decoder().map(|(decoder, _)| SeenDecoder {
            architecture: decoder.architecture.clone(),
            hidden_size: decoder.hidden_size,
            vocab_size: decoder.vocab_size,
            weight_dtype: decoder.weight_dtype.clone(),
        });
        let format = format.name();
        Self { format, bytes, depth, rows, cols, layers_per_cell, layers, transformer, blobs, weights, weight_bytes }
    }

    pub(super) fn to_json(&self, _: &Path) -> String {
        // Plain data, which always serialises.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    pub(super) fn to_text(&self, file: &Path) -> String {
        let mut text = String::new();
        let grid = format!("{}×{}×{}", self.depth, self.rows, self.cols);
        let _ = writeln!(text, "{}: {}, {} KiB", name(file), self.format, kib(self.bytes));
        let _ = writeln!(text, "grid {grid} (depth × rows × cols), {} layers per cell", self.layers_per_cell);
        if let Some(t) = &self.transformer {
            let (hidden, vocab) = (t.hidden_size, t.vocab_size);
            let (architecture, dtype) = (one_line(&t.architecture), one_line(&t.weight_dtype));
            let _ = writeln!(text, "transformer {architecture}: hidden {hidden}, vocab {vocab}, {dtype}");
        }
        let mut i = 0;
        while i < self.layers.len() {
            // Neighbours that differ in nothing shown are one line.
            let same = self.layers[i..].iter().take_while(|layer| self.layers[i].looks_like(layer)).count().max(1);
            let layer = &self.layers[i];
            let name = match same {
                1 => layer.path.clone(),
                _ => format!("{} … {} ({same} alike)", layer.path, self.layers[i + same - 1].path),
            };
            let _ = writeln!(text, "{}{}", "  ".repeat(layer.depth), layer.line(&name));
            i += same;
        }
        for blob in &self.blobs {
            let _ = writeln!(text, "{}: {} {}, {} bytes", blob.id, blob.weights, blob.dtype, blob.bytes);
        }
        let _ = writeln!(
            text,
            "{} layers, {} weights in {} KiB",
            self.layers.len(),
            self.weights,
            kib(self.weight_bytes as u64)
        );
        let rest = self.bytes.saturating_sub(self.weight_bytes as u64);
        if self.format != "json" {
            let _ = writeln!(text, "header, index and padding {} KiB", kib(rest));
        }
        text
    }
}

impl SeenLayer {
    fn looks_like(&self, other: &Self) -> bool {
        let blobs = |layer: &Self| -> Vec<_> {
            layer.blobs.iter().map(|b| (b.part, b.dtype.clone(), b.numerics, b.scale.to_bits(), b.bytes)).collect()
        };
        (self.kind, self.activation, self.dtype, self.depth, &self.settings)
            == (other.kind, other.activation, other.dtype, other.depth, &other.settings)
            && blobs(self) == blobs(other)
    }

    fn line(&self, name: &str) -> String {
        let mut line = format!("{name} {}", self.kind);
        let told = |key: &str, value: &str| !matches!((key, value), ("softmax_type", "Standard") | ("seq_length", "1"));
        let sizes: Vec<String> = self
            .settings
            .iter()
            .filter(|(key, value)| told(key, value))
            .map(|(key, value)| match value.chars().all(|c| c.is_alphanumeric() || "_.-[], ".contains(c)) {
                true => format!("{key}={value}"),
                false => format!("{key}={value:?}"),
            })
            .collect();
        if !sizes.is_empty() {
            line.push_str(&format!(" {}", sizes.join(" ")));
        }
        if self.activation != "Linear" {
            line.push_str(&format!(" {}", self.activation));
        }
        match self.blobs.as_slice() {
            [] => {}
            [one] => line.push_str(&format!(" | {}", one.words(false))),
            many => line.push_str(&format!(" | {}", many.iter().map(|b| b.words(true)).collect::<Vec<_>>().join(", "))),
        }
        line
    }
}

impl SeenBlob {
    fn words(&self, named: bool) -> String {
        let name = match self.part {
            Some(Part::Role(role)) if named => format!("{role} "),
            Some(Part::Q4(key)) => format!("q4_0.{key} "),
            Some(Part::Biases) => "biases ".into(),
            Some(Part::Master) => "master for ".into(),
            _ => String::new(),
        };
        let numerics = if self.numerics == Some(Numerics::Standard) { " standard" } else { "" };
        let scale =
            if self.scale == 1.0 || self.scale == 0.0 { String::new() } else { format!(" scale {:e}", self.scale) };
        format!("{name}{}{numerics}{scale} {} B", self.dtype, self.bytes)
    }
}

/// Pairs as an object, in their order.
fn as_map<S: serde::Serializer>(pairs: &[(&'static str, String)], out: S) -> Result<S::Ok, S::Error> {
    out.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}
