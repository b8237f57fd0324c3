//! Reading version 2: the tables, checked against each other and the file, then sections when
//! they are needed.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{
    ALIGNMENT, BIASES, EMBEDDINGS, ENTRY, Entry, FINAL_NORM, FIXED, INDEX_ZSTD, LM_HEAD, PER_HEAD, Q4_0, SECTION_ZSTD,
    STANDARD, TOPOLOGY_ZSTD, ZERO_POINT, arrange, tree,
};
use crate::dtype::{Dtype, Numerics};
use crate::error::Result;
use crate::format::blob::{Blob, BlobId, Coding, Encoding, Part, Q4_KEYS};
use crate::format::budget::Purse;
use crate::format::checkpoint::Checkpoint;
use crate::format::fault::{Fault, ensure};
use crate::format::path::LayerPath;
use crate::format::record::Record;
use crate::format::source::{Section, Source};
use crate::format::topology::Topology;
use crate::format::{check, q4, zstd};
use crate::layers::RoleShape;
use crate::role::Role;

/// The largest topology or index that is read, expanded.
const LARGEST_TABLE: u64 = 256 << 20;

/// Reads topology and index, and checks them against each other and the file; sections stay
/// where they are.
pub(in crate::format) fn read(source: &Source, purse: &mut Purse) -> Result<Checkpoint> {
    let fixed = source.read(0, FIXED)?;
    let u64_at = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&fixed[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let flags = u16::from_le_bytes([fixed[10], fixed[11]]);
    ensure(flags & !(TOPOLOGY_ZSTD | INDEX_ZSTD) == 0, || {
        Fault::Flags.at("byte 10", format!("unknown flags {flags:#06x}"))
    })?;
    ensure(fixed[12..16] == [0; 4], || Fault::Flags.at("byte 12", "reserved bytes are not zero"))?;
    let [topology_len, topology_raw, index_len, index_raw, meta, file] = [16, 24, 32, 40, 48, 56].map(u64_at);
    let len = source.len();
    ensure(file <= len, || Fault::Truncated.at("byte 56", format!("the file should have {file} bytes and has {len}")))?;
    ensure(file == len, || Fault::Trailing.at(format!("byte {file}"), format!("{} bytes follow the end", len - file)))?;
    let whole = meta.checked_add(topology_len).and_then(|end| end.checked_add(index_len));
    ensure(meta >= FIXED as u64 && whole == Some(file), || {
        let what =
            format!("topology at {meta} with {topology_len} bytes and index with {index_len} do not end at {file}");
        Fault::Overlap.at("byte 16", what)
    })?;
    for (stored, raw, at) in [(topology_len, topology_raw, 24), (index_len, index_raw, 40)] {
        ensure(stored.max(raw) <= LARGEST_TABLE, || {
            Fault::Limit
                .at(format!("byte {at}"), format!("{} bytes; at most {LARGEST_TABLE} are read", stored.max(raw)))
        })?;
    }
    purse.spend("topology", topology_raw)?;
    purse.spend("index", index_raw)?;
    let tables = source.read(meta, (topology_len + index_len) as usize)?;
    let mut hasher = Sha256::new();
    hasher.update(&fixed[..64]);
    hasher.update(&tables);
    ensure(hasher.finalize()[..] == fixed[64..96], || {
        Fault::Digest.at("byte 64", "header, topology or index have changed since they were written")
    })?;
    let (topology, index) = tables.split_at(topology_len as usize);
    let expand = |name: &str, bytes: &[u8], raw: u64, flag: u16| -> Result<Bytes> {
        if flags & flag != 0 {
            return zstd::expand(&name, bytes, raw as usize).map(Bytes::from);
        }
        ensure(bytes.len() as u64 == raw, || {
            Fault::Length.at(name, format!("{} bytes are stored and {raw} announced, without compression", bytes.len()))
        })?;
        Ok(Bytes::copy_from_slice(bytes))
    };
    let topology = expand("topology", topology, topology_raw, TOPOLOGY_ZSTD)?;
    let index = expand("index", index, index_raw, INDEX_ZSTD)?;
    let (topology, decoder) = tree::decode(&topology, usize::try_from(len).unwrap_or(usize::MAX), purse)?;
    let entries = entries(&index, purse)?;
    let mut checkpoint = Checkpoint { topology, decoder, blobs: BTreeMap::new() };
    let blobs = place(source, &checkpoint.topology, &entries, meta, purse)?;
    checkpoint.blobs = blobs;
    check::check_index(&checkpoint)?;
    Ok(checkpoint)
}

fn entries(index: &[u8], purse: &mut Purse) -> Result<Vec<Entry>> {
    ensure(index.len().is_multiple_of(ENTRY), || {
        Fault::Length.at("index", format!("{} bytes are no whole number of entries of {ENTRY}", index.len()))
    })?;
    let n = index.len() / ENTRY;
    purse.spend("index", n as u64 * ENTRY as u64)?;
    let column = |first: usize, width: usize, i: usize| &index[first * n + i * width..][..width];
    let mut entries = Vec::with_capacity(n);
    let mut node = 0u32;
    for i in 0..n {
        let four = |first: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(column(first, 4, i));
            u32::from_le_bytes(bytes)
        };
        let eight = |first: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(column(first, 8, i));
            bytes
        };
        let step = node.checked_add(four(0));
        node = step.ok_or_else(|| Fault::Path.at(format!("index entry {i}"), "its layer number overflows"))?;
        entries.push(Entry {
            node,
            part: column(4, 1, i)[0],
            count: column(5, 1, i)[0],
            dtype: column(6, 1, i)[0],
            coding: column(7, 1, i)[0],
            scale: f32::from_bits(four(8)),
            stored: u64::from_le_bytes(eight(12)),
            digest: eight(20),
        });
    }
    Ok(entries)
}

/// The blobs of every section, with all lengths checked against their layers and the file.
fn place(
    source: &Source,
    topology: &Topology,
    entries: &[Entry],
    end: u64,
    purse: &mut Purse,
) -> Result<BTreeMap<BlobId, Blob>> {
    let nodes = topology.walk();
    let mut blobs = BTreeMap::new();
    let mut position = FIXED as u64;
    for (i, entry) in entries.iter().enumerate() {
        let here = format!("index entry {i}");
        let owner = nodes.get(entry.node as usize);
        ensure(owner.is_some() || entry.node as usize == nodes.len(), || {
            Fault::Path.at(&here, format!("layer number {} of {}", entry.node, nodes.len()))
        })?;
        let ids = entry.ids(&here, owner)?;
        purse.spend(&here, entry.price())?;
        let coding = entry.coding(&here)?;
        let prefix = if entry.coding & ZERO_POINT != 0 { 8 } else { 0 };
        let stop = position.checked_add(entry.stored).filter(|&stop| stop <= end);
        let stop = stop
            .ok_or_else(|| Fault::Truncated.at(&here, format!("{} bytes reach beyond the sections", entry.stored)))?;
        let stored = entry.stored as usize;
        let compressed = entry.coding & SECTION_ZSTD != 0;
        let lens: Vec<usize> = match ids.as_slice() {
            // What belongs to no layer takes what is there.
            _ if owner.is_none() => vec![stored.saturating_sub(padding(position, ALIGNMENT))],
            ids => {
                let lens: Option<Vec<usize>> = ids.iter().map(|(_, len)| *len).collect();
                lens.ok_or_else(|| Fault::Limit.at(&here, "its length overflows"))?
            }
        };
        let arranged = arrange(prefix, &lens).ok_or_else(|| Fault::Limit.at(&here, "its length overflows"))?;
        let (starts, raw, align) = arranged;
        let align = if owner.is_none() { ALIGNMENT } else { align };
        let padding = if compressed { 0 } else { padding(position, align) };
        ensure(compressed || padding.checked_add(raw) == Some(stored), || {
            Fault::Length.at(&here, format!("{stored} bytes where {} are needed", padding.saturating_add(raw)))
        })?;
        ensure(!compressed || raw / zstd::MOST_EXPANSION <= stored, || {
            let what = format!("{stored} bytes expand to {raw}; at most {} times is read", zstd::MOST_EXPANSION);
            Fault::Limit.at(&here, what)
        })?;
        let mut section = Section {
            source: source.clone(),
            offset: position,
            stored,
            padding,
            raw,
            zstd: compressed,
            digest: Some(entry.digest),
        };
        let mut coding = coding;
        if prefix > 0 {
            // The zero point says what the codes mean, so that the section is read now.
            let bytes = section.read(&here)?;
            let mut zero = [0; 8];
            zero.copy_from_slice(&bytes[..8]);
            coding.zero_point = u64::from_le_bytes(zero);
            section = Section::memory(bytes);
        }
        let section = Arc::new(section);
        for ((id, _), (start, len)) in ids.into_iter().zip(starts.iter().zip(&lens)) {
            let gains = match (&id, owner) {
                (BlobId::Layer(_, Part::Role(role)), Some((path, record))) => entry.gains(path, record, *role)?,
                _ => 0,
            };
            let blob = Blob { coding, section: Arc::clone(&section), range: *start..start + len, gains };
            ensure(!blobs.contains_key(&id), || Fault::Duplicate.at(&id, "the index has it twice"))?;
            blobs.insert(id, blob);
        }
        position = stop;
    }
    ensure(position == end, || {
        Fault::Overlap.at("index", format!("sections end at {position}, the topology starts at {end}"))
    })?;
    Ok(blobs)
}

fn padding(position: u64, align: usize) -> usize {
    (position.next_multiple_of(align as u64) - position) as usize
}

impl Entry {
    /// What the section and its blobs take, as [`crate::format::Budget`] counts.
    pub(super) fn price(&self) -> u64 {
        256 + 256 * u64::from(self.count)
    }

    /// The blobs of the section with their lengths; no length where it does not follow from a layer.
    fn ids(&self, here: &str, owner: Option<&(LayerPath, &Record)>) -> Result<Vec<(BlobId, Option<usize>)>> {
        let strange = |what: String| Fault::Path.at(here, what);
        let Some((path, record)) = owner else {
            let id = match self.part {
                EMBEDDINGS => BlobId::Embeddings,
                LM_HEAD => BlobId::LmHead,
                FINAL_NORM => BlobId::FinalNorm,
                part => return Err(strange(format!("part {part} belongs to no layer"))),
            };
            ensure(self.count == 1 && self.coding == 0, || strange("one plain blob is needed here".into()))?;
            return Ok(vec![(id, None)]);
        };
        let layout = record.layout().map_err(|what| Fault::Config.at(path, what))?;
        let id = |part| BlobId::Layer(path.clone(), part);
        if self.part >= 64 {
            ensure(self.count == 1, || strange(format!("{} blobs in a section of one", self.count)))?;
            if self.part == BIASES {
                let n: usize = layout.roles.iter().filter(|r| r.role.is_vector()).map(size).sum();
                return Ok(vec![(id(Part::Biases), n.checked_mul(4))]);
            }
            let known = Q4_KEYS.iter().find(|(key, kind, _)| *key == u32::from(self.part) && *kind == record.kind);
            let (key, _, role) =
                known.ok_or_else(|| strange(format!("part {} of a {} layer", self.part, record.kind.name())))?;
            let n = layout.shape(*role).map_or(0, |shape| shape.iter().product());
            return Ok(vec![(id(Part::Q4(*key)), q4::len(n))]);
        }
        let order = record.role_order(&layout);
        let first = order.iter().position(|role| *role as u8 == self.part);
        let roles = first.and_then(|first| order.get(first..first + usize::from(self.count))).filter(|r| !r.is_empty());
        let roles = roles.ok_or_else(|| {
            strange(format!("{} roles from number {} on in a {} layer", self.count, self.part, record.kind.name()))
        })?;
        let dtype = self.dtype(here)?;
        let len = |role: &Role| {
            let gains = self.gains(path, record, *role)?;
            let shape = record.role_shape(*role, &layout, gains).map_err(|what| Fault::Config.at(path, what))?;
            let n = shape.iter().product();
            Ok((id(Part::Role(*role)), dtype.packed_len(n)))
        };
        roles.iter().map(len).collect()
    }

    /// How many gains a norm of queries or keys has; 0 for other roles.
    fn gains(&self, path: &LayerPath, record: &Record, role: Role) -> Result<usize> {
        if !role.is_outside_array() {
            return Ok(0);
        }
        let (q, kv) = record.attention_widths().map_err(|what| Fault::Config.at(path, what))?;
        Ok(match (self.coding & PER_HEAD != 0, role) {
            (false, _) => record.head_width(),
            (true, Role::QNorm) => q,
            (true, _) => kv,
        })
    }

    fn dtype(&self, here: &str) -> Result<Dtype> {
        let dtype = Dtype::ALL.get(usize::from(self.dtype)).copied();
        dtype.ok_or_else(|| Fault::Name.at(here, format!("unknown dtype number {}", self.dtype)))
    }

    fn coding(&self, here: &str) -> Result<Coding> {
        let known = STANDARD | SECTION_ZSTD | ZERO_POINT | PER_HEAD;
        ensure(self.coding & !known == 0, || {
            Fault::Flags
                .at(here, format!("unknown coding {:#04x}; scales by row or by group are not read", self.coding))
        })?;
        let numerics = if self.coding & STANDARD != 0 { Numerics::Standard } else { Numerics::Loom };
        if self.dtype == Q4_0 {
            ensure((64..BIASES).contains(&self.part) && self.coding & !SECTION_ZSTD == 0, || {
                Fault::Config.at(here, "Q4_0 is for single matrices")
            })?;
            return Ok(Coding { encoding: Encoding::Q4_0, scale: self.scale, zero_point: 0 });
        }
        let dtype = self.dtype(here)?;
        let affine = dtype.affine(numerics, self.scale);
        Ok(Coding { encoding: Encoding::Codes(dtype, numerics), scale: self.scale, zero_point: affine.zero_point })
    }
}

fn size(role: &RoleShape) -> usize {
    role.shape.iter().product()
}

/// Puts the right digests into a file of version 2 whose tables are not compressed; `false` when
/// they cannot be found. For tests of what lies behind the digests.
#[doc(hidden)]
pub fn reseal(file: &mut [u8]) -> bool {
    let Some(fixed) = file.get(..FIXED) else { return false };
    let at = |i: usize| u64::from_le_bytes(fixed[i..i + 8].try_into().unwrap_or_default()) as usize;
    let [topology, _, index, _, meta, _] = [16, 24, 32, 40, 48, 56].map(at);
    let table = meta.checked_add(topology).and_then(|start| Some(start..start.checked_add(index)?));
    let Some(table) = table.filter(|table| table.end <= file.len()) else { return false };
    let n = table.len() / ENTRY;
    let mut position = FIXED;
    for i in 0..n {
        let stored = table.start + 12 * n + 8 * i;
        let stored = u64::from_le_bytes(file[stored..stored + 8].try_into().unwrap_or_default()) as usize;
        let Some(end) = position.checked_add(stored).filter(|&end| end <= meta.min(file.len())) else { break };
        let digest = crate::format::source::digest(&file[position..end]);
        file[table.start + 20 * n + 8 * i..][..8].copy_from_slice(&digest);
        position = end;
    }
    let mut hasher = Sha256::new();
    hasher.update(&file[..64]);
    hasher.update(&file[meta..table.end]);
    let digest = hasher.finalize();
    file[64..FIXED].copy_from_slice(&digest);
    true
}
