//! Writing version 1.

#![forbid(unsafe_code)]

use std::io::Write;

use bytes::Bytes;
use rayon::prelude::*;

use super::{LARGEST_HEADER, MAGIC};
use crate::dtype::{Dtype, Numerics};
use crate::error::Result;
use crate::format::blob::{BlobId, Coding, Encoding, Part};
use crate::format::check::check_coding;
use crate::format::checkpoint::Checkpoint;
use crate::format::fault::{Fault, ensure};
use crate::format::layer;
use crate::format::layer::{coding_of_master, is_kept_by_bridge};
use crate::format::loss::{Losses, Target};
use crate::format::path::LayerPath;
use crate::format::record::{Key, Record, Value};
use crate::format::text::{Extra, Place, Style, Writer};
use crate::format::topology::Topology;
use crate::format::transformer::{Decoder, Dims};
use crate::layers::LayerKind;
use crate::layers::packing::Layout;
use crate::role::Role;

/// One blob to be written.
pub(in crate::format) struct Planned<'a> {
    pub(in crate::format) path: String,
    source: Origin<'a>,
    coding: Coding,
    native: bool,
    pub(in crate::format) len: usize,
    record: Option<(LayerPath, &'a Record)>,
}

/// Where its bytes come from.
enum Origin<'a> {
    /// A blob as it is.
    Blob(&'a BlobId),
    /// The layer's array.
    Array,
    /// A role as float32.
    Role(Role),
    /// The array as float32, whatever its dtype.
    Plain,
}

/// The blobs of a file in writing order, with what version 1 cannot hold.
pub(in crate::format) fn plan<'a>(checkpoint: &'a Checkpoint, losses: &mut Losses) -> Result<Vec<Planned<'a>>> {
    let mut planned = Vec::new();
    let mut bridged = Vec::new();
    for (path, record) in checkpoint.topology.walk() {
        if !losses.record(&path, record) {
            continue;
        }
        let layout = record.layout().map_err(|what| Fault::Config.at(&path, what))?;
        let parts: Vec<Part> = checkpoint.parts(&path).collect();
        let put = |source, coding, native, len, suffix: &str| Planned {
            path: format!("{path}{suffix}"),
            source,
            coding,
            native,
            len,
            record: Some((path.clone(), record)),
        };
        let mut in_array = false;
        for (id, blob) in checkpoint.layer_blobs(&path) {
            let BlobId::Layer(_, part) = id else { continue };
            match part {
                Part::Array | Part::Master => in_array = true,
                Part::Q4(_) => planned.push(put(Origin::Blob(id), blob.coding, true, blob.len(), &suffix(id, &path))),
                Part::Biases => planned.push(put(Origin::Blob(id), blob.coding, false, blob.len(), ".biases")),
                Part::Role(role) if layout.shape(*role).is_some() => in_array = true,
                Part::Role(_) => {}
            }
        }
        if in_array && let Some(planned_array) = array(checkpoint, &path, record, &layout, &parts, losses)? {
            let (source, coding, len) = planned_array;
            planned.push(put(source, coding, true, len, ""));
        }
        for part in &parts {
            let Part::Role(role) = part else { continue };
            if layout.shape(*role).is_some() {
                continue;
            }
            let id = BlobId::Layer(path.clone(), *part);
            let n = layer::float32(checkpoint, &path, record, *role)?.len() / 4;
            match role {
                _ if role.is_outside_array() => {
                    planned.push(put(Origin::Role(*role), Coding::F32, false, 4 * n, &format!(".{role}")));
                }
                Role::Bias if is_kept_by_bridge(record, *role) && path.steps.is_empty() => {
                    let mut blob = put(Origin::Role(*role), Coding::F32, false, 4 * n, "");
                    blob.path = format!("bridge.dense.{}.biases", path.index);
                    bridged.push(blob);
                }
                _ => losses.lose(&id, format!("the {role} of a {} layer", record.kind.name())),
            }
        }
    }
    planned.append(&mut bridged);
    for (id, blob) in checkpoint.blobs.iter().filter(|(id, _)| !matches!(id, BlobId::Layer(..))) {
        planned.push(Planned {
            path: id.to_string(),
            source: Origin::Blob(id),
            coding: blob.coding,
            native: false,
            len: blob.len(),
            record: None,
        });
    }
    Ok(planned)
}

fn suffix(id: &BlobId, path: &LayerPath) -> String {
    id.to_string().strip_prefix(&path.to_string()).unwrap_or_default().to_string()
}

/// How a layer's array is written: RMSNorm always as float32, beside the scale of its own type.
fn array<'a>(
    checkpoint: &Checkpoint,
    path: &LayerPath,
    record: &Record,
    layout: &Layout,
    parts: &[Part],
    losses: &mut Losses,
) -> Result<Option<(Origin<'a>, Coding, usize)>> {
    let n = layout.count();
    let master = parts.contains(&Part::Master);
    let coding = match parts.iter().find(|part| matches!(part, Part::Array | Part::Master)) {
        Some(part) => {
            let id = BlobId::Layer(path.clone(), *part);
            let blob = &checkpoint.blobs[&id];
            match blob.coding.encoding {
                Encoding::Codes(dtype, _) if master => {
                    let coding = coding_of_master(blob.coding, dtype, &blob.read(&id)?);
                    check_coding(&id, Part::Array, &coding)?;
                    coding
                }
                _ => blob.coding,
            }
        }
        None => match layer::array(checkpoint, path, record) {
            Ok((coding, _)) => coding,
            Err(error) => {
                losses.refuse(error)?;
                return Ok(None);
            }
        },
    };
    let Encoding::Codes(dtype, _) = coding.encoding else { return Ok(None) };
    if record.kind == LayerKind::RmsNorm && dtype != Dtype::Float32 {
        let scale = Coding { encoding: Encoding::Codes(Dtype::Float32, Numerics::Loom), ..coding };
        return Ok(Some((Origin::Plain, scale, 4 * n)));
    }
    let len = dtype.packed_len(n).ok_or_else(|| Fault::Limit.at(path, "its size overflows"))?;
    Ok(Some((Origin::Array, coding, len)))
}

impl Planned<'_> {
    /// The bytes to write.
    pub(in crate::format) fn bytes(&self, checkpoint: &Checkpoint) -> Result<Bytes> {
        match (&self.source, &self.record) {
            (Origin::Blob(id), _) => checkpoint.bytes(id),
            (Origin::Array, Some((path, record))) => Ok(layer::array(checkpoint, path, record)?.1),
            (Origin::Role(role), Some((path, record))) => layer::float32(checkpoint, path, record, *role),
            (Origin::Plain, Some((path, record))) => {
                match checkpoint.blobs.get(&BlobId::Layer(path.clone(), Part::Master)) {
                    Some(_) => checkpoint.bytes(&BlobId::Layer(path.clone(), Part::Master)),
                    None => layer::float32(checkpoint, path, record, Role::Gamma),
                }
            }
            _ => Ok(Bytes::new()),
        }
    }
}

/// Bytes of blobs that one thread makes.
const ALONE: usize = 1 << 18;

/// Writes a file. One layer at a time is in memory, beside what the checkpoint holds.
pub(in crate::format) fn write(checkpoint: &Checkpoint, losses: &mut Losses, out: &mut dyn Write) -> Result<()> {
    let planned = plan(checkpoint, losses)?;
    losses.check(Target::V1)?;
    let text = header(checkpoint, &planned, losses)?;
    let io = |e: std::io::Error| Fault::io("writing", &e);
    out.write_all(MAGIC).map_err(io)?;
    out.write_all(&[1, 0, 0, 0]).map_err(io)?;
    out.write_all(&(text.len() as u64).to_le_bytes()).map_err(io)?;
    out.write_all(text.as_bytes()).map_err(io)?;
    for batch in batches(&planned) {
        // To wake threads takes longer than to make a few blobs.
        let bytes: Vec<Result<Bytes>> = match batch.iter().map(|planned| planned.len).sum::<usize>() {
            0..=ALONE => batch.iter().map(|planned| planned.bytes(checkpoint)).collect(),
            _ => batch.par_iter().map(|planned| planned.bytes(checkpoint)).collect(),
        };
        for (planned, bytes) in batch.iter().zip(bytes) {
            let bytes = bytes?;
            ensure(bytes.len() == planned.len, || {
                let what = format!("{} bytes where the header says {}", bytes.len(), planned.len);
                Fault::Length.at(&planned.path, what)
            })?;
            out.write_all(&bytes).map_err(io)?;
        }
    }
    Ok(())
}

/// Runs of blobs that are small enough to be made in parallel.
fn batches<'a, 'b>(planned: &'a [Planned<'b>]) -> Vec<&'a [Planned<'b>]> {
    const BATCH: usize = 8 << 20;
    let (mut batches, mut start, mut size) = (Vec::new(), 0, 0);
    for (i, blob) in planned.iter().enumerate() {
        if size > 0 && size + blob.len > BATCH {
            batches.push(&planned[start..i]);
            (start, size) = (i, 0);
        }
        size += blob.len;
    }
    batches.push(&planned[start..]);
    batches
}

fn header(checkpoint: &Checkpoint, planned: &[Planned<'_>], losses: &Losses) -> Result<String> {
    let mut w = Writer::new(Style::Compact);
    w.object(|w| {
        w.key("format_version");
        w.display(1);
        w.key("network");
        topology(
            w,
            &checkpoint.topology,
            losses,
            &|record| {
                let length = record.raw(Key::SeqLength);
                (length != 1 || record.has_sequences()).then_some(length)
            },
            &|_, _| {},
        );
        if let Some((decoder, dims)) = &checkpoint.decoder {
            w.key("transformer");
            transformer(w, decoder, dims.as_ref());
        }
        w.key("blobs");
        if planned.is_empty() {
            w.display("null");
            return;
        }
        let mut offset = 0u64;
        w.list(planned, |w, _, blob| {
            w.object(|w| {
                w.key("path");
                w.string(&blob.path);
                w.key("offset");
                w.display(offset);
                w.key("length");
                w.display(blob.len);
                w.key("dtype");
                w.display(format_args!("\"{}\"", blob.coding.encoding));
                if blob.native && blob.coding.scale != 0.0 && blob.coding.encoding != Encoding::Q4_0 {
                    w.key("scale");
                    w.f32(blob.coding.scale);
                }
                w.key("native");
                w.display(blob.native);
            });
            offset += blob.len as u64;
        });
    });
    let text = w.finish();
    ensure(text.len() as u64 <= LARGEST_HEADER, || {
        Fault::Limit.at("header", format!("{} bytes; version 1 holds {LARGEST_HEADER} at most", text.len()))
    })?;
    Ok(text)
}

/// Writes a topology object, without keys that version 1 does not have. `seq_length` says what
/// is written for that key, `extra` what a layer has beside its record.
pub(in crate::format) fn topology(
    w: &mut Writer<'_>,
    topology: &Topology,
    losses: &Losses,
    seq_length: &dyn Fn(&Record) -> Option<i64>,
    extra: Extra<'_>,
) {
    w.object(|w| {
        w.key("id");
        w.string("network");
        for (name, extent) in ["depth", "rows", "cols", "layers_per_cell"].iter().zip(topology.extents().axes()) {
            w.key(name);
            w.display(extent);
        }
        w.key("layers");
        w.list(topology.layers(), |w, index, record| {
            let mut record = Record::clone(record);
            record.visit_mut(&mut |record| {
                let length = seq_length(record).unwrap_or(0);
                record.set(Key::SeqLength, Value::Int(length));
                losses.drop_from(record);
            });
            w.record(&record, topology.extents().position(index).axes().map(|v| v as i64), &Place::top(index), extra);
        });
    });
}

fn transformer(w: &mut Writer<'_>, decoder: &Decoder, dims: Option<&Dims>) {
    w.object(|w| {
        section(w, Decoder::KEYS, decoder.values());
        if let Some(dims) = dims {
            w.key("dims");
            w.object(|w| section(w, Dims::KEYS, dims.values()));
        }
    });
}

fn section(w: &mut Writer<'_>, keys: &[(&str, crate::format::record::Shape, bool)], values: Vec<Option<Value>>) {
    for ((name, shape, always), value) in keys.iter().zip(values) {
        match value {
            None if !always => continue,
            _ => w.key(name),
        }
        match value {
            Some(Value::Int(v)) => w.display(v),
            Some(Value::Float(v)) => w.f64(v),
            Some(Value::Text(v)) => w.string(&v),
            Some(_) => w.display(true),
            None if *shape == crate::format::record::Shape::Text => w.string(""),
            None => w.display(0),
        }
    }
}
