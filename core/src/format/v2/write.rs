//! Writing version 2: sections as they come, then the tables, then the fixed header.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::hash::Hasher as _;
use std::io::{Seek, SeekFrom, Write};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{
    ALIGNMENT, BIASES, EMBEDDINGS, ENTRY, Entry, FINAL_NORM, FIXED, INDEX_ZSTD, LM_HEAD, PER_HEAD, Q4_0, SECTION_ZSTD,
    STANDARD, TOPOLOGY_ZSTD, ZERO_POINT, arrange, tree,
};
use crate::dtype::Numerics;
use crate::error::Result;
use crate::format::blob::{BlobId, Coding, Encoding, Part, Q4_KEYS};
use crate::format::budget::Budget;
use crate::format::checkpoint::Checkpoint;
use crate::format::fault::{Fault, ensure};
use crate::format::layer::Stored;
use crate::format::path::LayerPath;
use crate::format::record::Record;
use crate::format::topology::{FREE_LAYERS, Topology};
use crate::format::v1::MAGIC;
use crate::format::{layer, zstd};
use crate::role::Role;

/// Bytes whose digest is made on another thread.
const WORTH_A_THREAD: u64 = 1 << 20;

/// Writes a whole checkpoint.
pub(in crate::format) fn write<W: Write + Seek>(checkpoint: &Checkpoint, compress: bool, out: &mut W) -> Result<()> {
    let mut output = Output::new(out, compress)?;
    let layers: Vec<_> = nodes(&checkpoint.topology);
    output.layers(checkpoint, &layers)?;
    output.finish(&checkpoint.topology, checkpoint, layers.len() as u32).map(|_| ())
}

/// Every layer with its number.
pub(in crate::format) fn nodes(topology: &Topology) -> Vec<(u32, LayerPath, &Record)> {
    topology.walk().into_iter().enumerate().map(|(i, (path, record))| (i as u32, path, record)).collect()
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
    let layout = record.layout().map_err(|what| Fault::Config.at(path, what))?;
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
    let stored = layer::stored(checkpoint, path, record)?;
    let mut last: Option<usize> = None;
    for (position, role) in record.role_order(&layout).into_iter().enumerate() {
        let Some(Stored { coding, bytes, shape, .. }) =
            stored.iter().find(|s| s.role == role && !apart.contains(&role))
        else {
            continue;
        };
        let whole = matches!(role, Role::QNorm | Role::KNorm)
            && record.attention_widths().is_ok_and(|(q, kv)| shape == &[if role == Role::QNorm { q } else { kv }])
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
pub(in crate::format) struct Output<W: Write + Seek> {
    out: W,
    start: u64,
    position: u64,
    compress: bool,
    entries: Vec<Entry>,
}

impl<W: Write + Seek> Output<W> {
    pub(in crate::format) fn new(mut out: W, compress: bool) -> Result<Self> {
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
            let mut hasher = twox_hash::XxHash3_64::new();
            all.iter().for_each(|piece| hasher.write(piece));
            hasher.finish().to_le_bytes()
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
        entry.digest = digest;
        self.position += entry.stored;
        self.entries.push(entry);
        Ok(())
    }

    /// Writes the layers of `paths`, the next ones in order.
    pub(in crate::format) fn layers(
        &mut self,
        checkpoint: &Checkpoint,
        layers: &[(u32, LayerPath, &Record)],
    ) -> Result<()> {
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

    pub(in crate::format) fn finish(mut self, topology: &Topology, checkpoint: &Checkpoint, nodes: u32) -> Result<W> {
        self.globals(checkpoint, nodes)?;
        let io = |e: std::io::Error| Fault::io("writing", &e);
        let layers = &topology.layers;
        let squeeze = |raw: Vec<u8>, flag: u16| match self.compress.then(|| zstd::shrink(&raw)).flatten() {
            Some(frame) => (raw.len(), frame, flag),
            None => (raw.len(), raw, 0),
        };
        let (topology_raw, topology, first) =
            squeeze(tree::encode(topology, checkpoint.decoder.as_ref()), TOPOLOGY_ZSTD);
        let (index_raw, index, second) = squeeze(columns(&self.entries), INDEX_ZSTD);
        let mut fixed = Vec::with_capacity(FIXED);
        fixed.extend_from_slice(MAGIC);
        fixed.extend_from_slice(&2u16.to_le_bytes());
        fixed.extend_from_slice(&(first | second).to_le_bytes());
        fixed.extend_from_slice(&[0; 4]);
        let end = self.position + (topology.len() + index.len()) as u64;
        // Readers believe no more of a file; each layer with weights has more bytes than one.
        let most = FREE_LAYERS as u64 + end;
        ensure(layers.len() as u64 <= most, || {
            let n = layers.len();
            Fault::Limit.at("topology", format!("{n} layers in {end} bytes; version 2 holds {most} in so few"))
        })?;
        let mut purse = Budget::default().open(end);
        purse.spend("topology", topology_raw as u64)?;
        purse.spend("index", self.entries.iter().map(Entry::price).sum())?;
        layers.iter().try_for_each(|record| purse.spend("topology", record.price(0)))?;
        for field in [topology.len(), topology_raw, index.len(), index_raw] {
            fixed.extend_from_slice(&(field as u64).to_le_bytes());
        }
        fixed.extend_from_slice(&self.position.to_le_bytes());
        fixed.extend_from_slice(&end.to_le_bytes());
        let mut hasher = Sha256::new();
        [&fixed, &topology, &index].into_iter().for_each(|part| hasher.update(part));
        let digest = hasher.finalize();
        fixed.extend_from_slice(&digest);
        self.out.write_all(&topology).map_err(io)?;
        self.out.write_all(&index).map_err(io)?;
        self.out.seek(SeekFrom::Start(self.start)).map_err(io)?;
        self.out.write_all(&fixed).map_err(io)?;
        self.out.seek(SeekFrom::Start(self.start + end)).map_err(io)?;
        Ok(self.out)
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

impl Coding {
    /// Equal where every bit is.
    fn to_bits(self) -> (Encoding, u32, u64) {
        (self.encoding, self.scale.to_bits(), self.zero_point)
    }
}
