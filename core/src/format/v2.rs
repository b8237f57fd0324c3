//! `.entity` version 2: binary topology, a compact index, one aligned blob per role.
//!
//! Described for strangers in `docs/entity-v2.md`. In short: 96 bytes of fixed header; sections,
//! each with the blobs of one layer that share a coding; the topology; the index, in columns.
//! Every byte is under a BLAKE3 digest, and offsets follow from lengths, so that blobs can
//! neither overlap nor leave gaps.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use bytes::Bytes;

use super::checkpoint::{Blob, BlobId, Checkpoint, Coding, Encoding, Part, Q4_KEYS, Stored};
use super::fault::{Fault, ensure};
use super::flat::Layout;
use super::record::{Key, Record};
use super::source::{Section, Source};
use super::topology::{LayerPath, Topology};
use super::v1::MAGIC;
use super::{q4, zstd};
use crate::dtype::{Dtype, Numerics};
use crate::error::Result;
use crate::layers::{LayerKind, RoleShape};
use crate::store::Role;

/// Bytes of the fixed header.
pub(super) const FIXED: usize = 96;

/// Bytes of one section in the index, over all columns.
const ENTRY: usize = 28;

/// The largest topology or index that is read, expanded.
const LARGEST_TABLE: u64 = 256 << 20;

/// Flags of the fixed header.
const TOPOLOGY_ZSTD: u16 = 1;
const INDEX_ZSTD: u16 = 2;

/// Bits of a section's coding.
const STANDARD: u8 = 1;
const SECTION_ZSTD: u8 = 2;
const ZERO_POINT: u8 = 4;
const PER_HEAD: u8 = 8;

/// The dtype byte of Q4_0.
const Q4_0: u8 = 64;

/// Parts that are no role and no Q4 key.
const BIASES: u8 = 250;
const EMBEDDINGS: u8 = 252;
const LM_HEAD: u8 = 253;
const FINAL_NORM: u8 = 254;

/// Bytes whose digest is made on another thread.
const WORTH_A_THREAD: u64 = 1 << 20;

/// The largest alignment of a blob.
const ALIGNMENT: usize = 64;

/// Where a blob of `len` bytes may start: at a multiple of this. A blob shorter than a cache line
/// never crosses one.
fn alignment(len: usize) -> usize {
    if len >= ALIGNMENT { ALIGNMENT } else { len.max(1).next_power_of_two() }
}

/// The extents of blobs inside a section, its length, and its own alignment.
fn arrange(prefix: usize, lens: &[usize]) -> Option<(Vec<usize>, usize, usize)> {
    let (mut starts, mut end) = (Vec::with_capacity(lens.len()), prefix);
    let mut most = alignment(prefix);
    for &len in lens {
        let align = alignment(len);
        most = most.max(align);
        let start = end.checked_next_multiple_of(align)?;
        starts.push(start);
        end = start.checked_add(len)?;
    }
    Some((starts, end, most))
}

/// One section as the index has it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Position of the layer among all, those inside others included; one past the last for what
    /// belongs to no layer.
    node: u32,
    part: u8,
    /// Roles in the section.
    count: u8,
    dtype: u8,
    coding: u8,
    scale: f32,
    stored: u64,
    digest: [u8; 8],
}

/// The roles that a layer may have, in the order of sections: those of its array, then what
/// stands beside it.
pub(super) fn role_order(record: &Record, layout: &Layout) -> Vec<Role> {
    let mut roles: Vec<Role> = layout.roles.iter().map(|role| role.role).collect();
    match record.kind {
        LayerKind::Mha => roles.extend([Role::QNorm, Role::KNorm]),
        LayerKind::Dense
        | LayerKind::Cnn1
        | LayerKind::Cnn2
        | LayerKind::Cnn3
        | LayerKind::ConvTransposed1
        | LayerKind::ConvTransposed2
        | LayerKind::ConvTransposed3 => roles.push(Role::Bias),
        _ => {}
    }
    roles
}

/// A section that is about to be written.
struct Content {
    part: u8,
    count: usize,
    coding: Coding,
    per_head: bool,
    blobs: Vec<Bytes>,
}

/// The sections of one layer.
fn contents(checkpoint: &Checkpoint, path: &LayerPath, record: &Record) -> Result<Vec<Content>> {
    let layout = Layout::of_record(record).map_err(|what| Fault::Config.at(path, what))?;
    let mut found = Vec::new();
    let mut apart = BTreeSet::new();
    for (id, blob) in checkpoint.layer_blobs(path) {
        let BlobId::Layer(_, part) = id else { continue };
        let part = match part {
            Part::Q4(key) => {
                apart.extend(Q4_KEYS.iter().filter(|(known, ..)| known == key).map(|(.., role)| *role));
                *key as u8
            }
            Part::Biases => {
                apart.extend(layout.roles.iter().map(|role| role.role).filter(|role| role.is_vector()));
                BIASES
            }
            _ => continue,
        };
        found.push(Content { part, count: 1, coding: blob.coding, per_head: false, blobs: vec![blob.read(id)?] });
    }
    let stored = checkpoint.stored(path, record)?;
    let mut last: Option<usize> = None;
    for (position, role) in role_order(record, &layout).into_iter().enumerate() {
        let Some(Stored { coding, bytes, shape, .. }) =
            stored.iter().find(|s| s.role == role && !apart.contains(&role))
        else {
            continue;
        };
        let whole = matches!(role, Role::QNorm | Role::KNorm)
            && Layout::attention(record).is_ok_and(|(q, kv)| shape == &[if role == Role::QNorm { q } else { kv }])
            && shape != &[record.head_width()];
        let joins = last == position.checked_sub(1);
        match found
            .last_mut()
            .filter(|run| joins && run.coding.to_bits() == coding.to_bits() && run.per_head == whole && run.part < 64)
        {
            Some(run) => {
                run.count += 1;
                run.blobs.push(bytes.clone());
            }
            None => found.push(Content {
                part: role as u8,
                count: 1,
                coding: *coding,
                per_head: whole,
                blobs: vec![bytes.clone()],
            }),
        }
        last = Some(position);
    }
    Ok(found)
}

impl Content {
    /// The bytes of the section without padding before it, its alignment, and its index entry.
    fn pack(&self, node: u32, compress: bool) -> Result<(Vec<Bytes>, usize, Entry)> {
        let (dtype, numerics) = match self.coding.encoding {
            Encoding::Codes(dtype, numerics) => (dtype as u8, numerics),
            Encoding::Q4_0 => (Q4_0, Numerics::Loom),
        };
        let mut coding = if numerics == Numerics::Standard { STANDARD } else { 0 };
        let zero = match self.coding.encoding {
            Encoding::Codes(dtype, numerics) => {
                let own = dtype.affine(numerics, self.coding.scale).zero_point;
                (own != self.coding.zero_point).then_some(self.coding.zero_point)
            }
            Encoding::Q4_0 => None,
        };
        if self.per_head {
            coding |= PER_HEAD;
        }
        let mut pieces = Vec::new();
        if let Some(zero) = zero {
            coding |= ZERO_POINT;
            pieces.push(Bytes::copy_from_slice(&zero.to_le_bytes()));
        }
        let prefix = pieces.iter().map(Bytes::len).sum();
        let lens: Vec<usize> = self.blobs.iter().map(Bytes::len).collect();
        let (starts, _, mut align) =
            arrange(prefix, &lens).ok_or_else(|| Fault::Limit.at(node, "a section overflows"))?;
        let mut end = prefix;
        for (blob, start) in self.blobs.iter().zip(starts) {
            if start > end {
                pieces.push(Bytes::from_static(&[0; ALIGNMENT]).slice(..start - end));
            }
            end = start + blob.len();
            pieces.push(blob.clone());
        }
        if compress && let Some(frame) = zstd::shrink(&pieces.concat()) {
            coding |= SECTION_ZSTD;
            align = 1;
            pieces = vec![frame.into()];
        }
        let count = self.count as u8;
        let entry =
            Entry { node, part: self.part, count, dtype, coding, scale: self.coding.scale, stored: 0, digest: [0; 8] };
        Ok((pieces, align, entry))
    }
}

/// Writes sections as they come, then the topology and the index; then the fixed header, for
/// which the output is rewound.
pub(super) struct Output<'a, W: Write + Seek> {
    out: &'a mut W,
    start: u64,
    position: u64,
    compress: bool,
    entries: Vec<Entry>,
}

impl<'a, W: Write + Seek> Output<'a, W> {
    pub(super) fn new(out: &'a mut W, compress: bool) -> Result<Self> {
        let io = |e: std::io::Error| Fault::io("writing", &e);
        let start = out.stream_position().map_err(io)?;
        out.write_all(&[0; FIXED]).map_err(io)?;
        Ok(Self { out, start, position: FIXED as u64, compress, entries: Vec::new() })
    }

    fn put(&mut self, pieces: Vec<Bytes>, align: usize, mut entry: Entry) -> Result<()> {
        let io = |e: std::io::Error| Fault::io("writing", &e);
        let padding = (self.position.next_multiple_of(align as u64) - self.position) as usize;
        let mut all = vec![Bytes::from_static(&[0; ALIGNMENT]).slice(..padding)];
        all.extend(pieces);
        entry.stored = all.iter().map(|piece| piece.len() as u64).sum();
        // The digest is made while the bytes are on their way.
        let hash = || {
            let mut hasher = blake3::Hasher::new();
            all.iter().for_each(|piece| {
                hasher.update(piece);
            });
            hasher.finalize()
        };
        let mut write = || all.iter().try_for_each(|piece| self.out.write_all(piece));
        let (digest, written) = if entry.stored < WORTH_A_THREAD {
            (hash(), write())
        } else {
            std::thread::scope(|scope| {
                let digest = scope.spawn(hash);
                let written = write();
                // Hashing does not panic.
                (digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), written)
            })
        };
        written.map_err(io)?;
        entry.digest.copy_from_slice(&digest.as_bytes()[..8]);
        self.position += entry.stored;
        self.entries.push(entry);
        Ok(())
    }

    /// Writes the layers of `paths`, the next ones in order.
    pub(super) fn layers(&mut self, checkpoint: &Checkpoint, layers: &[(u32, LayerPath, &Record)]) -> Result<()> {
        for (node, path, record) in layers {
            for content in contents(checkpoint, path, record)? {
                let (pieces, align, entry) = content.pack(*node, self.compress)?;
                self.put(pieces, align, entry)?;
            }
        }
        Ok(())
    }

    fn globals(&mut self, checkpoint: &Checkpoint, node: u32) -> Result<()> {
        for (part, id) in [(EMBEDDINGS, BlobId::Embeddings), (LM_HEAD, BlobId::LmHead), (FINAL_NORM, BlobId::FinalNorm)]
        {
            let Some(blob) = checkpoint.blobs.get(&id) else { continue };
            let bytes = blob.read(&id)?;
            let content = Content { part, count: 1, coding: blob.coding, per_head: false, blobs: vec![bytes] };
            // Its length does not follow from a layer: it is what is left after the padding.
            let (pieces, _, entry) = content.pack(node, false)?;
            self.put(pieces, ALIGNMENT, entry)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self, topology: &Topology, checkpoint: &Checkpoint, nodes: u32) -> Result<()> {
        self.globals(checkpoint, nodes)?;
        let io = |e: std::io::Error| Fault::io("writing", &e);
        let squeeze = |raw: Vec<u8>, flag: u16| match self.compress.then(|| zstd::shrink(&raw)).flatten() {
            Some(frame) => (raw.len(), frame, flag),
            None => (raw.len(), raw, 0),
        };
        let (topology_raw, topology, first) =
            squeeze(super::tree::encode(topology, checkpoint.decoder.as_ref()), TOPOLOGY_ZSTD);
        let (index_raw, index, second) = squeeze(columns(&self.entries), INDEX_ZSTD);
        let mut fixed = Vec::with_capacity(FIXED);
        fixed.extend_from_slice(MAGIC);
        fixed.extend_from_slice(&2u16.to_le_bytes());
        fixed.extend_from_slice(&(first | second).to_le_bytes());
        fixed.extend_from_slice(&[0; 4]);
        let end = self.position + (topology.len() + index.len()) as u64;
        for field in [topology.len(), topology_raw, index.len(), index_raw] {
            fixed.extend_from_slice(&(field as u64).to_le_bytes());
        }
        fixed.extend_from_slice(&self.position.to_le_bytes());
        fixed.extend_from_slice(&end.to_le_bytes());
        let mut hasher = blake3::Hasher::new();
        [&fixed, &topology, &index].into_iter().for_each(|part| {
            hasher.update(part);
        });
        fixed.extend_from_slice(hasher.finalize().as_bytes());
        self.out.write_all(&topology).map_err(io)?;
        self.out.write_all(&index).map_err(io)?;
        self.out.seek(SeekFrom::Start(self.start)).map_err(io)?;
        self.out.write_all(&fixed).map_err(io)?;
        self.out.seek(SeekFrom::Start(self.start + end)).map_err(io)?;
        Ok(())
    }
}

fn columns(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY);
    let mut before = 0;
    for entry in entries {
        bytes.extend_from_slice(&(entry.node - before).to_le_bytes());
        before = entry.node;
    }
    bytes.extend(entries.iter().map(|entry| entry.part));
    bytes.extend(entries.iter().map(|entry| entry.count));
    bytes.extend(entries.iter().map(|entry| entry.dtype));
    bytes.extend(entries.iter().map(|entry| entry.coding));
    bytes.extend(entries.iter().flat_map(|entry| entry.scale.to_le_bytes()));
    bytes.extend(entries.iter().flat_map(|entry| entry.stored.to_le_bytes()));
    bytes.extend(entries.iter().flat_map(|entry| entry.digest));
    bytes
}

/// Writes a whole checkpoint.
pub(super) fn write<W: Write + Seek>(checkpoint: &Checkpoint, compress: bool, out: &mut W) -> Result<()> {
    let mut output = Output::new(out, compress)?;
    let layers: Vec<_> = nodes(&checkpoint.topology);
    output.layers(checkpoint, &layers)?;
    output.finish(&checkpoint.topology, checkpoint, layers.len() as u32)
}

/// Every layer with its number.
pub(super) fn nodes(topology: &Topology) -> Vec<(u32, LayerPath, &Record)> {
    topology.walk().into_iter().enumerate().map(|(i, (path, record))| (i as u32, path, record)).collect()
}

/// Reads topology and index, and checks them against each other and the file; sections stay
/// where they are.
pub(super) fn read(source: &Source) -> Result<Checkpoint> {
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
    let tables = source.read(meta, (topology_len + index_len) as usize)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&fixed[..64]);
    hasher.update(&tables);
    ensure(hasher.finalize().as_bytes()[..] == fixed[64..96], || {
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
    let (topology, decoder) = super::tree::decode(&topology, usize::try_from(len).unwrap_or(usize::MAX))?;
    let entries = entries(&index)?;
    let mut checkpoint = Checkpoint { topology, decoder, blobs: BTreeMap::new() };
    let blobs = place(source, &checkpoint.topology, &entries, meta)?;
    checkpoint.blobs = blobs;
    checkpoint.check_index()?;
    Ok(checkpoint)
}

fn entries(index: &[u8]) -> Result<Vec<Entry>> {
    ensure(index.len().is_multiple_of(ENTRY), || {
        Fault::Length.at("index", format!("{} bytes are no whole number of entries of {ENTRY}", index.len()))
    })?;
    let n = index.len() / ENTRY;
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
fn place(source: &Source, topology: &Topology, entries: &[Entry], end: u64) -> Result<BTreeMap<BlobId, Blob>> {
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
            let blob = Blob { coding, section: Arc::clone(&section), range: *start..start + len };
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
        let layout = Layout::of_record(record).map_err(|what| Fault::Config.at(path, what))?;
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
        let order = role_order(record, &layout);
        let first = order.iter().position(|role| *role as u8 == self.part);
        let roles = first.and_then(|first| order.get(first..first + usize::from(self.count))).filter(|r| !r.is_empty());
        let roles = roles.ok_or_else(|| {
            strange(format!("{} roles from number {} on in a {} layer", self.count, self.part, record.kind.name()))
        })?;
        let dtype = self.dtype(here)?;
        let len = |role: &Role| {
            let n = match role {
                Role::QNorm | Role::KNorm => {
                    let (q, kv) = Layout::attention(record).map_err(|what| Fault::Config.at(path, what))?;
                    match (self.coding & PER_HEAD != 0, role) {
                        (false, _) => record.head_width(),
                        (true, Role::QNorm) => q,
                        (true, _) => kv,
                    }
                }
                Role::Bias if layout.shape(Role::Bias).is_none() => match record.kind {
                    LayerKind::Dense => record.size(Key::OutputHeight),
                    _ => record.size(Key::Filters),
                },
                role => layout.shape(*role).map_or(0, |shape| shape.iter().product()),
            };
            Ok((id(Part::Role(*role)), dtype.packed_len(n)))
        };
        roles.iter().map(len).collect()
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

impl Coding {
    /// Equal where every bit is.
    fn to_bits(self) -> (Encoding, u32, u64) {
        (self.encoding, self.scale.to_bits(), self.zero_point)
    }
}
