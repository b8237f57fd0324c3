//! JSON checkpoints: the topology, indented, with each layer's weights as Base64 inside.
//!
//! Source: `entity.md` section 9.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::blob::{Blob, BlobId, Coding, Encoding, Part};
use super::budget::Purse;
use super::checkpoint::Checkpoint;
use super::fault::Fault;
use super::loss::{Losses, Target};
use super::parse::{self, DocumentKind, Reading};
use super::path::LayerPath;
use super::record::{Key, Record};
use super::text::{Style, Writer};
use super::topology::Topology;
use super::{check, layer, v1};
use crate::dtype::Dtype;
use crate::error::{Error, Result};

/// Reads a document.
pub(super) fn read(text: &[u8], reading: Reading, purse: Purse) -> Result<Checkpoint> {
    let (mut document, purse) = parse::document(text, reading, DocumentKind::Json, purse)?;
    let topology = Topology::of_document(&mut document, text.len(), reading, purse)?;
    let mut blobs = BTreeMap::new();
    for native in document.natives {
        let path = LayerPath { index: native.top, steps: native.steps };
        let Some(record) = topology.find(&path) else { continue };
        let stores = record.layout().map_err(|what| Fault::Config.at(&path, what))?.count() > 0;
        if native.bytes.is_empty() {
            // A layer that has a store and nothing in it says its scale alone.
            continue;
        }
        if !stores {
            return Err(Fault::Path.at(&path, format!("a {} layer has no weights", record.kind.name())));
        }
        let coding = Coding::loom(record.dtype, native.scale.unwrap_or(0.0));
        let part = if native.native { Part::Array } else { Part::Master };
        blobs.insert(BlobId::Layer(path, part), Blob::memory(coding, native.bytes.into()));
    }
    let checkpoint = Checkpoint { topology, decoder: None, blobs };
    check::check_index(&checkpoint)?;
    Ok(checkpoint)
}

/// Notes what the format has no field for, and returns the topology with the dtypes that the
/// arrays will have.
fn prepare(checkpoint: &Checkpoint, losses: &mut Losses) -> Result<(Topology, BTreeMap<String, LayerPath>)> {
    let mut topology = checkpoint.topology.clone();
    let mut arrays = BTreeMap::new();
    for (path, record) in checkpoint.topology.walk() {
        if !losses.record(&path, record) {
            continue;
        }
        let layout = record.layout().map_err(|what| Fault::Config.at(&path, what))?;
        let mut dtype = None;
        let mut whole = false;
        for (id, blob) in checkpoint.layer_blobs(&path) {
            let BlobId::Layer(_, part) = id else { continue };
            match (part, blob.coding().encoding) {
                (Part::Role(role), _) if layout.shape(*role).is_none() => {
                    losses.lose(id, format_args!("the {role} of a {} layer", record.kind.name()));
                }
                (_, Encoding::Q4_0) => dtype = Some(Dtype::Float32),
                (_, Encoding::Codes(found, _)) => dtype = dtype.or(Some(found)),
            }
            whole |= matches!(part, Part::Array | Part::Master);
        }
        let Some(dtype) = dtype else { continue };
        if !whole {
            // Whether roles fit into one array shows when they are joined.
            if let Err(error) = json_array(checkpoint, &path, record) {
                losses.refuse(error)?;
                continue;
            }
        }
        topology.change(&path, &mut |record| record.dtype = dtype);
        arrays.insert(path.to_string(), path);
    }
    if checkpoint.decoder.is_some() {
        losses.lose("transformer", "the section with embeddings, head and final norm");
    }
    Ok((topology, arrays))
}

/// Notes what the format has no field for.
pub(super) fn plan(checkpoint: &Checkpoint, losses: &mut Losses) -> Result<()> {
    prepare(checkpoint, losses).map(|_| ())
}

/// Writes a document. One layer at a time is in memory, beside what the checkpoint holds.
pub(super) fn write(checkpoint: &Checkpoint, losses: &mut Losses, out: &mut dyn Write) -> Result<()> {
    let (topology, arrays) = prepare(checkpoint, losses)?;
    losses.check(Target::Json)?;
    let failed = RefCell::new(None);
    let mut w = Writer::to(Style::Indented, out);
    v1::topology(&mut w, &topology, losses, &|record| Some(record.raw(Key::SeqLength)), &|w, place| {
        let Some(path) = arrays.get(&place.path()).filter(|_| failed.borrow().is_none()) else { return };
        let record = checkpoint.topology.find(path);
        let Some(array) = record.map(|record| json_array(checkpoint, path, record)) else { return };
        match array {
            Ok((coding, bytes)) => {
                w.key("weights");
                w.plain(|text| STANDARD.encode_string(&bytes, text));
                w.key("native");
                w.display(true);
                if coding.scale != 0.0 {
                    w.key("scale");
                    w.f32(coding.scale);
                }
            }
            Err(error) => {
                failed.replace(Some(error));
            }
        }
    });
    let written = w.flush();
    match failed.into_inner() {
        Some(error) => Err(error),
        None => written.map_err(|e| Fault::io("writing", &e)),
    }
}

/// A layer's array; Q4_0 matrices become the float32 numbers they stand for.
fn json_array(checkpoint: &Checkpoint, path: &LayerPath, record: &Record) -> Result<(Coding, Bytes)> {
    let q4 = checkpoint.layer_blobs(path).any(|(id, _)| matches!(id, BlobId::Layer(_, Part::Q4(_))));
    if !q4 {
        return layer::array(checkpoint, path, record);
    }
    let layout = record.layout().map_err(|what| Fault::Config.at(path, what))?;
    let mut parts = Vec::new();
    for role in &layout.roles {
        let n: usize = role.shape.iter().product();
        let bytes = match layer::float32(checkpoint, path, record, role.role) {
            Ok(bytes) => bytes,
            Err(Error::Format { fault: Fault::Missing, .. }) => vec![0; 4 * n].into(),
            Err(other) => return Err(other),
        };
        parts.push(bytes);
    }
    Ok((Coding::loom(Dtype::Float32, 1.0), layout.join(32, &parts)))
}
