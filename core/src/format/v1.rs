//! `.entity` version 1: the original's container, read and written to the byte.
//!
//! 20 bytes of fixed header, a compact JSON header, then blobs without alignment. Source:
//! `entity.md` sections 2 to 8.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;

use super::budget::Purse;
use super::checkpoint::{Blob, BlobId, Checkpoint, Coding, Encoding, Part, Q4_KEYS};
use super::fault::{Fault, ensure};
use super::layer::{coding_of_master, is_kept_by_bridge};
use super::loss::{Losses, Target};
use super::parse::{self, Entry, Reading};
use super::record::{Key, Record, Step, Value};
use super::source::{Section, Source};
use super::text::{Extra, Place, Style, Writer};
use super::topology::{LayerPath, Topology};
use super::transformer::{Decoder, Dims};
use crate::dtype::{Dtype, Numerics};
use crate::error::Result;
use crate::layers::LayerKind;
use crate::layers::packing::Layout;
use crate::role::Role;

/// What every `.entity` begins with.
pub(super) const MAGIC: &[u8; 8] = b"ENTITY\0\0";

/// The largest JSON header.
const LARGEST_HEADER: u64 = 256 << 20;

/// Bytes before the JSON header.
const FIXED: u64 = 20;

/// Reads the header and checks every blob against it; the payload stays where it is.
pub(super) fn read(source: &Source, reading: Reading, purse: Purse) -> Result<Checkpoint> {
    let fixed = source.read(0, FIXED as usize)?;
    let flags = u16::from_le_bytes([fixed[10], fixed[11]]);
    ensure(flags == 0 || reading == Reading::Loom, || {
        Fault::Flags.at("byte 10", format!("flags {flags:#06x} in version 1, which has none"))
    })?;
    let mut length = [0; 8];
    length.copy_from_slice(&fixed[12..20]);
    let length = u64::from_le_bytes(length);
    ensure(length <= LARGEST_HEADER, || {
        Fault::Limit.at("byte 12", format!("a header of {length} bytes; at most {LARGEST_HEADER} are read"))
    })?;
    let text = source.read(FIXED, length as usize)?;
    let (header, purse) = parse::header(&text, FIXED, reading, purse)?;
    let start = FIXED + length;
    let payload = source.len() - start;
    let mut document = header.document;
    let len = usize::try_from(source.len()).unwrap_or(usize::MAX);
    let mut topology = Topology::of_document(&mut document, len, reading, purse)?;
    topology.visit_mut(&mut |record| {
        // A length of 1 is left out where it says nothing.
        if !record.has_sequences() && record.raw(Key::SeqLength) == 0 {
            record.set_size(Key::SeqLength, 1);
        }
    });
    check_extents(&header.entries, payload, reading)?;
    let mut blobs = BTreeMap::new();
    for entry in header.entries {
        let (id, coding) = identify(&entry, reading)?;
        let len = entry.length as usize;
        let section = Section {
            source: source.clone(),
            offset: start + entry.offset,
            stored: len,
            padding: 0,
            raw: len,
            zstd: false,
            digest: None,
        };
        let gains =
            if matches!(id, BlobId::Layer(_, Part::Role(role)) if role.is_outside_array()) { len / 4 } else { 0 };
        let blob = Blob { coding, section: Arc::new(section), range: 0..len, gains };
        ensure(blobs.insert(id, blob).is_none(), || Fault::Duplicate.at(&entry.path, "two blobs have this path"))?;
    }
    let mut checkpoint = Checkpoint { topology, decoder: header.decoder, blobs };
    checkpoint.check_index()?;
    if reading == Reading::Loom {
        checkpoint.name_dtypes();
    }
    Ok(checkpoint)
}

/// Checks that the blobs tile the payload.
fn check_extents(entries: &[Entry], payload: u64, reading: Reading) -> Result<()> {
    let mut order: Vec<&Entry> = entries.iter().collect();
    order.sort_by_key(|entry| (entry.offset, entry.length));
    let mut end = 0;
    for entry in order {
        let stop = entry.offset.checked_add(entry.length).filter(|&stop| stop <= payload);
        let stop = stop.ok_or_else(|| {
            let (offset, length) = (entry.offset, entry.length);
            Fault::Truncated
                .at(&entry.path, format!("{length} bytes at {offset} reach beyond the {payload} of the payload"))
        })?;
        ensure(entry.offset == end, || {
            let what =
                if entry.offset < end { "shares bytes with the blob before it" } else { "leaves a gap before it" };
            Fault::Overlap.at(&entry.path, format!("starts at {} where {end} was expected: it {what}", entry.offset))
        })?;
        end = stop;
    }
    ensure(end == payload || reading == Reading::Loom, || {
        Fault::Trailing.at(format!("payload byte {end}"), format!("{} bytes belong to no blob", payload - end))
    })
}

/// What the path and the dtype of an entry mean.
fn identify(entry: &Entry, reading: Reading) -> Result<(BlobId, Coding)> {
    let unknown = || Fault::Path.at(format!("blob {:?}", entry.path), "no such path in this format");
    let mut parts = entry.path.split('.');
    let number = |text: Option<&str>| -> Result<usize> {
        let text = text.ok_or_else(unknown)?;
        let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        let text = if reading == Reading::Loom { text.strip_prefix('+').unwrap_or(text) } else { text };
        text.parse().ok().filter(|_| plain || reading == Reading::Loom).ok_or_else(unknown)
    };
    let id = match parts.next() {
        Some("layers") => {
            let mut path = LayerPath::top(number(parts.next())?);
            let mut part = None;
            while let Some(name) = parts.next() {
                if part.is_some() {
                    return Err(unknown());
                }
                match name {
                    "parallel_branches" => path.steps.push(Step::Branch(number(parts.next())?)),
                    "sequential_layers" => path.steps.push(Step::Sequential(number(parts.next())?)),
                    "meta_observed_layer" => path.steps.push(Step::Observed),
                    "q4_0" => {
                        let key = number(parts.next())?;
                        let known = Q4_KEYS.iter().find(|(known, ..)| *known as usize == key).ok_or_else(unknown)?;
                        part = Some(Part::Q4(known.0));
                    }
                    "biases" => part = Some(Part::Biases),
                    "q_norm" => part = Some(Part::Role(Role::QNorm)),
                    "k_norm" => part = Some(Part::Role(Role::KNorm)),
                    _ => return Err(unknown()),
                }
            }
            let whole = if entry.native { Part::Array } else { Part::Master };
            BlobId::Layer(path, part.unwrap_or(whole))
        }
        Some("transformer") => match (parts.next(), parts.next()) {
            (Some("embeddings"), None) => BlobId::Embeddings,
            (Some("lm_head"), None) => BlobId::LmHead,
            (Some("final_norm"), None) => BlobId::FinalNorm,
            _ => return Err(unknown()),
        },
        Some("bridge") => {
            if parts.next() != Some("dense") {
                return Err(unknown());
            }
            let path = LayerPath::top(number(parts.next())?);
            if (parts.next(), parts.next()) != (Some("biases"), None) {
                return Err(unknown());
            }
            BlobId::Layer(path, Part::Role(Role::Bias))
        }
        _ => return Err(unknown()),
    };
    let whole = matches!(id, BlobId::Layer(_, Part::Array | Part::Master));
    let coding = match entry.dtype.as_str() {
        "Q4_0" => Coding { encoding: Encoding::Q4_0, scale: 0.0, zero_point: 0 },
        name => {
            let dtype = match Dtype::find(name) {
                Some(dtype) => dtype,
                None if reading == Reading::Loom => Dtype::Float32,
                None => return Err(Fault::Name.at(&entry.path, format!("unknown dtype {name:?}"))),
            };
            Coding::loom(dtype, if whole { entry.scale } else { 1.0 })
        }
    };
    ensure(whole || matches!(coding.encoding, Encoding::Q4_0 | Encoding::Codes(Dtype::Float32, _)), || {
        Fault::Config.at(&entry.path, format!("dtype {:?} where float32 is needed", entry.dtype))
    })?;
    let expected = whole || coding.encoding == Encoding::Q4_0;
    ensure(whole || entry.native == expected, || {
        Fault::Config.at(&entry.path, format!("native is {} where {expected} is needed", entry.native))
    })?;
    Ok((id, coding))
}

/// One blob to be written.
pub(super) struct Planned<'a> {
    pub(super) path: String,
    source: From<'a>,
    coding: Coding,
    native: bool,
    pub(super) len: usize,
    record: Option<(LayerPath, &'a Record)>,
}

/// Where its bytes come from.
enum From<'a> {
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
pub(super) fn plan<'a>(checkpoint: &'a Checkpoint, losses: &mut Losses) -> Result<Vec<Planned<'a>>> {
    let mut planned = Vec::new();
    let mut bridged = Vec::new();
    for (path, record) in checkpoint.topology.walk() {
        losses.record(&path, record);
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
                Part::Q4(_) => planned.push(put(From::Blob(id), blob.coding, true, blob.len(), &suffix(id, &path))),
                Part::Biases => planned.push(put(From::Blob(id), blob.coding, false, blob.len(), ".biases")),
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
            let n = checkpoint.float32(&path, record, *role)?.len() / 4;
            match role {
                _ if role.is_outside_array() => {
                    planned.push(put(From::Role(*role), Coding::F32, false, 4 * n, &format!(".{role}")));
                }
                Role::Bias if is_kept_by_bridge(record, *role) && path.steps.is_empty() => {
                    let mut blob = put(From::Role(*role), Coding::F32, false, 4 * n, "");
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
            source: From::Blob(id),
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
) -> Result<Option<(From<'a>, Coding, usize)>> {
    let n = layout.count();
    let master = parts.contains(&Part::Master);
    let coding = match parts.iter().find(|part| matches!(part, Part::Array | Part::Master)) {
        Some(part) => {
            let id = BlobId::Layer(path.clone(), *part);
            let blob = &checkpoint.blobs[&id];
            match blob.coding.encoding {
                Encoding::Codes(dtype, _) if master => {
                    let coding = coding_of_master(blob.coding, dtype, &blob.read(&id)?);
                    super::check::check_coding(&id, Part::Array, &coding)?;
                    coding
                }
                _ => blob.coding,
            }
        }
        None => match checkpoint.array(path, record) {
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
        return Ok(Some((From::Plain, scale, 4 * n)));
    }
    let len = dtype.packed_len(n).ok_or_else(|| Fault::Limit.at(path, "its size overflows"))?;
    Ok(Some((From::Array, coding, len)))
}

impl Planned<'_> {
    /// The bytes to write.
    pub(super) fn bytes(&self, checkpoint: &Checkpoint) -> Result<Bytes> {
        match (&self.source, &self.record) {
            (From::Blob(id), _) => checkpoint.bytes(id),
            (From::Array, Some((path, record))) => Ok(checkpoint.array(path, record)?.1),
            (From::Role(role), Some((path, record))) => checkpoint.float32(path, record, *role),
            (From::Plain, Some((path, record))) => {
                match checkpoint.blobs.get(&BlobId::Layer(path.clone(), Part::Master)) {
                    Some(_) => checkpoint.bytes(&BlobId::Layer(path.clone(), Part::Master)),
                    None => checkpoint.float32(path, record, Role::Gamma),
                }
            }
            _ => Ok(Bytes::new()),
        }
    }
}

/// Bytes of blobs that one thread makes.
const ALONE: usize = 1 << 18;

/// Writes a file. One layer at a time is in memory, beside what the checkpoint holds.
pub(super) fn write(checkpoint: &Checkpoint, losses: &mut Losses, out: &mut dyn Write) -> Result<()> {
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
pub(super) fn topology(
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

fn section(w: &mut Writer<'_>, keys: &[(&str, super::record::Shape, bool)], values: Vec<Option<Value>>) {
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
            None if *shape == super::record::Shape::Text => w.string(""),
            None => w.display(0),
        }
    }
}
