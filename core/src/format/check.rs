//! What a checkpoint must be before any weight of it is read: every blob belongs to a layer and
//! has the length that the layer needs, and every layer has its weights, in one form.

#![forbid(unsafe_code)]

use rayon::prelude::*;

use super::blob::{Blob, BlobId, Coding, Encoding, Part, Q4_KEYS};
use super::checkpoint::Checkpoint;
use super::fault::{Fault, ensure};
use super::layer::{is_kept_by_bridge, store_master, uses_scale};
use super::path::LayerPath;
use super::q4;
use super::record::{Key, Record};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::layers::LayerKind;
use crate::role::Role;

/// Checks that every blob is one that its layer can have, and that every layer has its
/// weights, before any byte of them is read.
pub(super) fn check_index(checkpoint: &Checkpoint) -> Result<()> {
    for (id, blob) in &checkpoint.blobs {
        check_blob(checkpoint, id, blob)?;
    }
    for (path, record) in checkpoint.topology.walk() {
        check_layer(checkpoint, &path, record)?;
    }
    if let Some((decoder, _)) = &checkpoint.decoder {
        let missing = [
            (true, BlobId::Embeddings),
            (!decoder.lm_head_tied, BlobId::LmHead),
            (decoder.has_final_norm, BlobId::FinalNorm),
        ];
        for (needed, id) in missing {
            ensure(!needed || checkpoint.blobs.contains_key(&id), || {
                Fault::Missing.at(&id, "the transformer section asks for this blob")
            })?;
        }
    }
    Ok(())
}

/// Checks that a layer has its weights, in one form.
pub(super) fn check_layer(checkpoint: &Checkpoint, path: &LayerPath, record: &Record) -> Result<()> {
    let layout = record.layout().map_err(|what| Fault::Config.at(path, what))?;
    if layout.count() == 0 || record.has(Key::IsRemoteLink) {
        return Ok(());
    }
    let has = |part| checkpoint.blobs.contains_key(&BlobId::Layer(path.clone(), part));
    let (array, master) = (has(Part::Array), has(Part::Master));
    let q4 = Q4_KEYS.iter().any(|(key, ..)| has(Part::Q4(*key)));
    let roles = layout.roles.iter().any(|role| !is_kept_by_bridge(record, role.role) && has(Part::Role(role.role)));
    let forms = [array, master, q4, roles].into_iter().filter(|form| *form).count();
    ensure(forms <= 1, || Fault::Duplicate.at(path, "its weights are there in two forms"))?;
    ensure(forms == 1, || {
        let what = format!("it needs {} weights, and no blob has them", layout.count());
        Fault::Missing.at(path, what)
    })?;
    if roles || q4 {
        let there = |role: Role| match q4 {
            true => Q4_KEYS.iter().any(|(key, _, known)| *known == role && has(Part::Q4(*key))),
            false => has(Part::Role(role)),
        };
        let (vectors, matrices): (Vec<_>, Vec<_>) = layout.roles.iter().partition(|role| role.role.is_vector());
        let whole = record.has(Key::Configuration);
        let gains = |role: Role| whole || role == Role::Gamma;
        let missing = matrices.iter().chain(vectors.iter().filter(|role| gains(role.role)));
        if let Some(role) = missing.into_iter().find(|role| !there(role.role)) {
            return Err(Fault::Missing.at(path, format!("no blob has its {}", role.role)));
        }
        let shifts = || vectors.iter().filter(|role| !gains(role.role));
        if !q4
            && shifts().any(|role| there(role.role))
            && let Some(role) = shifts().find(|role| !there(role.role))
        {
            return Err(Fault::Missing.at(path, format!("no blob has its {}, others are there", role.role)));
        }
    }
    let (q, k) = (has(Part::Role(Role::QNorm)), has(Part::Role(Role::KNorm)));
    ensure(q == k, || Fault::Missing.at(path, "q_norm and k_norm go together, and only one is there"))?;
    Ok(())
}

pub(super) fn check_blob(checkpoint: &Checkpoint, id: &BlobId, blob: &Blob) -> Result<()> {
    let BlobId::Layer(path, part) = id else {
        let whole = blob.len().is_multiple_of(4) && !blob.is_empty();
        ensure(checkpoint.decoder.is_some(), || Fault::Path.at(id, "there is no transformer section"))?;
        ensure(blob.coding.encoding == Coding::F32.encoding, || Fault::Config.at(id, "it must be float32"))?;
        return ensure(whole, || Fault::Length.at(id, format!("{} bytes are no float32 array", blob.len())));
    };
    let record = checkpoint.topology.find(path).ok_or_else(|| Fault::Path.at(id, "no layer has this path"))?;
    let layout = record.layout().map_err(|what| Fault::Config.at(path, what))?;
    let strange = || Fault::Path.at(id, format!("a {} layer has no such weights", record.kind.name()));
    let expected = match part {
        Part::Array | Part::Master if layout.count() == 0 => return Err(strange()),
        Part::Array | Part::Master => {
            let Encoding::Codes(dtype, _) = blob.coding.encoding else {
                return Err(Fault::Config.at(id, "Q4_0 is for single matrices"));
            };
            (if *part == Part::Master { Dtype::Float32 } else { dtype }).packed_len(layout.count())
        }
        Part::Q4(key) => {
            let role = Q4_KEYS.iter().find(|(known, kind, _)| known == key && *kind == record.kind);
            let (.., role) = role.ok_or_else(strange)?;
            ensure(blob.coding.encoding == Encoding::Q4_0, || Fault::Config.at(id, "it must be Q4_0"))?;
            layout.shape(*role).and_then(|shape| q4::len(shape.iter().product()))
        }
        Part::Biases => {
            ensure(matches!(record.kind, LayerKind::Mha | LayerKind::SwiGlu), strange)?;
            ensure(blob.coding.encoding == Coding::F32.encoding, || Fault::Config.at(id, "it must be float32"))?;
            let vectors = layout.roles.iter().filter(|role| role.role.is_vector());
            Dtype::Float32.packed_len(vectors.map(|role| role.shape.iter().product::<usize>()).sum())
        }
        Part::Role(role) => {
            let Encoding::Codes(dtype, _) = blob.coding.encoding else {
                return Err(Fault::Config.at(id, "a role cannot be Q4_0"));
            };
            let shape = record.role_shape(*role, &layout, blob.gains).map_err(|what| Fault::Length.at(id, what))?;
            ensure(!shape.is_empty(), strange)?;
            dtype.packed_len(shape.iter().product())
        }
    };
    ensure(expected == Some(blob.len()), || {
        let needed = expected.map_or_else(|| "too many to count".to_string(), |n| format!("{n} bytes"));
        Fault::Length.at(id, format!("{} bytes where {needed} are needed", blob.len()))
    })?;
    check_coding(id, *part, &blob.coding)
}

/// `Err` when unused bits of a blob's last byte are not zero.
pub(super) fn check_tail(checkpoint: &Checkpoint, id: &BlobId) -> Result<()> {
    let Some(blob) = checkpoint.blobs.get(id) else { return Ok(()) };
    let (Encoding::Codes(dtype, _), false) = (blob.coding.encoding, matches!(id, BlobId::Layer(_, Part::Master)))
    else {
        return Ok(());
    };
    let unused = (8 * blob.len()).saturating_sub(count(checkpoint, id) * dtype.bits());
    let last = blob.read(id)?.last().copied().unwrap_or(0);
    ensure(unused == 0 || u32::from(last) & ((1 << unused) - 1) == 0, || {
        Fault::Tail.at(id, format!("the last {unused} bits of its last byte {last:#04x} are unused and must be 0"))
    })
}

/// As [`Checkpoint::check_weights`].
pub(super) fn check_weights(checkpoint: &Checkpoint) -> Result<()> {
    let blobs: Vec<(&BlobId, &Blob)> = checkpoint.blobs.iter().collect();
    let check = |(id, blob): &(&BlobId, &Blob)| {
        let (n, bytes) = (count(checkpoint, id), blob.read(id)?);
        if !matches!(id, BlobId::Layer(_, Part::Master)) {
            return check_codes(id, blob.coding, n, &bytes);
        }
        check_codes(id, Coding::F32, n, &bytes)?;
        let (coding, bytes) = store_master(id, blob.coding, &bytes)?;
        check_codes(id, coding, n, &bytes)
    };
    let checked: Vec<Result<()>> = blobs.par_iter().map(check).collect();
    checked.into_iter().collect()
}

/// The number of weights in a blob; 0 when there is no such blob.
pub(super) fn count(checkpoint: &Checkpoint, id: &BlobId) -> usize {
    let Some(blob) = checkpoint.blobs.get(id) else { return 0 };
    let BlobId::Layer(path, part) = id else { return blob.len() / 4 };
    let Some((record, layout)) = checkpoint.topology.find(path).and_then(|r| Some((r, r.layout().ok()?))) else {
        return 0;
    };
    let of = |shape: &[usize]| shape.iter().product();
    match part {
        Part::Array | Part::Master => layout.count(),
        Part::Biases => blob.len() / 4,
        Part::Role(role) => record.role_shape(*role, &layout, blob.gains).map_or(0, |shape| of(&shape)),
        Part::Q4(key) => {
            let role = Q4_KEYS.iter().find(|(known, ..)| known == key);
            role.and_then(|(.., role)| layout.shape(*role)).map_or(0, of)
        }
    }
}

/// `Err` unless `n` packed codes are finite weights of their type.
fn check_codes(place: &dyn std::fmt::Display, coding: Coding, n: usize, bytes: &[u8]) -> Result<()> {
    let Encoding::Codes(dtype, numerics) = coding.encoding else { return q4::check(place, bytes, n).map(drop) };
    let Some((index, code)) = dtype.first_unsound(numerics, coding.affine(), bytes, n) else { return Ok(()) };
    Err(match dtype.has(code) {
        true => {
            let value = dtype.value(numerics, code, coding.affine());
            Fault::of_weights(place, Error::NonFinite { index, value })
        }
        false => Fault::of_weights(place, Error::Code { index, code, dtype }),
    })
}

/// `Err` unless the scale and the zero point are ones that the type can have.
pub(super) fn check_coding(id: &BlobId, part: Part, coding: &Coding) -> Result<()> {
    let Encoding::Codes(dtype, numerics) = coding.encoding else { return Ok(()) };
    let scale = coding.scale;
    ensure(scale.is_finite(), || Fault::Scale.at(id, format!("the scale is {scale}; it must be finite")))?;
    let most = dtype.largest_zero_point(numerics);
    ensure(coding.zero_point <= most, || {
        Fault::Scale.at(id, format!("zero point {} in {dtype} ({numerics}); at most {most}", coding.zero_point))
    })?;
    let used = uses_scale(dtype) || (part == Part::Master && dtype != Dtype::Float32);
    ensure(scale != 0.0 || !used, || {
        Fault::Scale
            .at(id, format!("the scale is 0 or missing, which makes every {dtype} weight 0; 1 is the neutral one"))
    })
}
