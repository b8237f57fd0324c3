//! `.entity` version 1: the original's container, read and written to the byte.
//!
//! 20 bytes of fixed header, a compact JSON header, then blobs without alignment. Source:
//! `entity.md` sections 2 to 8.

#![forbid(unsafe_code)]

mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::blob::{Blob, BlobId, Coding, Encoding, Part, Q4_KEYS};
use super::budget::Purse;
use super::check;
use super::checkpoint::Checkpoint;
use super::fault::{Fault, ensure};
use super::parse::{self, Entry, Reading};
use super::path::LayerPath;
use super::path::Step;
use super::record::Key;
use super::source::{Section, Source};
use super::topology::Topology;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::role::Role;

pub(super) use write::{plan, topology, write};

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
    check::check_index(&checkpoint)?;
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
