//! The weights of one layer in their forms: an array, a master, roles, Q4_0.

#![forbid(unsafe_code)]

use bytes::Bytes;

use super::blob::{BlobId, Coding, Encoding, Part, Q4_KEYS};
use super::checkpoint::Checkpoint;
use super::fault::{Fault, ensure};
use super::path::LayerPath;
use super::q4;
use super::record::Record;
use crate::dtype::{Dtype, Magnitudes, Numerics};
use crate::error::Result;
use crate::role::Role;
use crate::store::{Scales, WeightStore};

/// A role of a layer as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) role: Role,
    pub(super) shape: Vec<usize>,
    pub(super) coding: Coding,
    pub(super) bytes: Bytes,
}

impl Stored {
    /// The store that it is, of the layer at `path`; Q4_0 becomes float32.
    pub(super) fn store(&self, path: &LayerPath) -> Result<WeightStore> {
        let here = BlobId::Layer(path.clone(), Part::Role(self.role));
        let store = match self.coding.encoding {
            Encoding::Codes(dtype, numerics) => {
                let scales = Scales::Tensor(self.coding.affine());
                WeightStore::packed(dtype, numerics, self.shape.clone(), scales, self.bytes.clone())
            }
            Encoding::Q4_0 => {
                let n = self.shape.iter().product();
                WeightStore::f32(self.shape.clone(), q4::decode(&here, &self.bytes, n)?)
            }
        };
        store.map_err(|error| Fault::of_weights(here, error))
    }
}

/// Every role of a layer as it is stored; masters are stored in their layer's dtype.
pub(super) fn stored(checkpoint: &Checkpoint, path: &LayerPath, record: &Record) -> Result<Vec<Stored>> {
    let layout = record.layout().map_err(|what| Fault::Config.at(path, what))?;
    let mut found = Vec::new();
    for (id, blob) in checkpoint.layer_blobs(path) {
        let BlobId::Layer(_, part) = id else { continue };
        let (part, bytes) = (*part, blob.read(id)?);
        match part {
            Part::Array | Part::Master => {
                let (coding, bytes) =
                    if part == Part::Master { store_master(id, blob.coding, &bytes)? } else { (blob.coding, bytes) };
                let Encoding::Codes(dtype, _) = coding.encoding else {
                    return Err(Fault::Config.at(id, "an array of codes cannot be Q4_0"));
                };
                for (role, bytes) in layout.roles.iter().zip(layout.split(dtype.bits(), &bytes)) {
                    found.push(Stored { role: role.role, shape: role.shape.clone(), coding, bytes });
                }
            }
            Part::Q4(key) => {
                let role = Q4_KEYS.iter().find(|(known, ..)| *known == key).map(|(.., role)| *role);
                let shape = role.and_then(|role| Some((role, layout.shape(role)?)));
                let (role, shape) = shape.ok_or_else(|| Fault::Path.at(id, "this layer has no such matrix"))?;
                found.push(Stored { role, shape: shape.to_vec(), coding: blob.coding, bytes });
            }
            Part::Biases => {
                let mut start = 0;
                for role in layout.roles.iter().filter(|role| role.role.is_vector()) {
                    let end = start + 4 * role.shape.iter().product::<usize>();
                    let bytes = bytes.slice(start..end);
                    let (role, shape) = (role.role, role.shape.clone());
                    found.push(Stored { role, shape, coding: Coding::F32, bytes });
                    start = end;
                }
            }
            Part::Role(role) => {
                let shape = record.role_shape(role, &layout, blob.gains).map_err(|what| Fault::Length.at(id, what))?;
                found.push(Stored { role, shape, coding: blob.coding, bytes });
            }
        }
    }
    Ok(found)
}

/// The weights of a layer as one array of version 1.
///
/// # Errors
/// [`Error::Format`] with the fault [`Fault::Loss`] when one array cannot hold them.
pub(super) fn array(checkpoint: &Checkpoint, path: &LayerPath, record: &Record) -> Result<(Coding, Bytes)> {
    let layout = record.layout().map_err(|what| Fault::Config.at(path, what))?;
    let stored = stored(checkpoint, path, record)?;
    let lost = |what: String| Fault::Loss.at(path, what);
    let first = layout.roles.iter().find_map(|role| stored.iter().find(|s| s.role == role.role));
    let first = first.ok_or_else(|| Fault::Missing.at(path, "it has no weights"))?;
    let roles = layout.roles.iter().map(|role| (role, stored.iter().find(|s| s.role == role.role)));
    let equal = |coding: Coding| coding == first.coding;
    let mut parts = Vec::new();
    if let Some(stored) = stored.iter().find(|s| s.coding.encoding == Encoding::Q4_0 && layout.shape(s.role).is_some())
    {
        let what = format!("its {} is Q4_0 and cannot stand in an array with the rest", stored.role);
        return Err(lost(what));
    }
    let Encoding::Codes(dtype, numerics) = first.coding.encoding else { return Err(lost("it is Q4_0".into())) };
    for (role, stored) in roles {
        let n = role.shape.iter().product();
        match stored {
            Some(stored) if equal(stored.coding) => parts.push(stored.bytes.clone()),
            Some(stored) => {
                let (a, b) = (describe(first), describe(stored));
                return Err(lost(format!("{a} and {b} cannot share the one array and scale of a layer")));
            }
            // The original has biases everywhere; without them they are 0.
            None => {
                let affine = first.coding.affine();
                let zeros = dtype.quantise(numerics, std::iter::repeat_n(0.0, n), affine);
                if n > 0 && dtype.dequantise(numerics, &zeros, n, affine).is_ok_and(|w| w.iter().any(|w| *w != 0.0)) {
                    return Err(lost(format!("it has no {}, and {dtype} has no code for 0 to write there", role.role)));
                }
                parts.push(zeros.into());
            }
        }
    }
    if numerics == Numerics::Standard {
        for (role, part) in layout.roles.iter().zip(&parts) {
            same_under_loom(role.shape.iter().product(), dtype, first.coding, part)
                .map_err(|what| lost(format!("{}: {what}", role.role)))?;
        }
    }
    Ok((Coding::loom(dtype, first.coding.scale), layout.join(dtype.bits(), &parts)))
}

/// A role of a layer as float32.
///
/// # Errors
/// [`Error::Format`] with the fault [`Fault::Loss`] when float32 does not hold its numbers.
pub(super) fn float32(checkpoint: &Checkpoint, path: &LayerPath, record: &Record, role: Role) -> Result<Bytes> {
    let id = BlobId::Layer(path.clone(), Part::Role(role));
    let stored = stored(checkpoint, path, record)?.into_iter().find(|stored| stored.role == role);
    let stored = stored.ok_or_else(|| Fault::Missing.at(&id, "there are no such weights"))?;
    if stored.coding.encoding == Coding::F32.encoding {
        return Ok(stored.bytes);
    }
    let store = stored.store(path)?;
    let lost = store.iter().position(|w| f64::from(w as f32) != w);
    ensure(lost.is_none(), || {
        Fault::Loss.at(&id, format!("element {} is no float32 number", lost.unwrap_or_default()))
    })?;
    Ok(store.morph(Dtype::Float32, Numerics::Loom)?.shared_bytes())
}

/// Whether the original's bridge keeps a role beside the array.
pub(super) fn is_kept_by_bridge(record: &Record, role: Role) -> bool {
    record.bridged().contains(&role)
}

/// Whether neither the array nor a blob beside it has a place for a role.
pub(super) fn has_no_place(record: &Record, role: Role) -> bool {
    let array = record.layout().is_ok_and(|layout| layout.shape(role).is_some());
    !(array || role.is_outside_array() || is_kept_by_bridge(record, role))
}

fn describe(stored: &Stored) -> String {
    let numerics = match stored.coding.encoding {
        Encoding::Codes(_, Numerics::Standard) => "standard ",
        _ => "",
    };
    format!("{} as {numerics}{} at scale {:e}", stored.role, stored.coding.encoding, stored.coding.scale)
}

/// Whether a type's weights depend on a scale.
pub(super) fn uses_scale(dtype: Dtype) -> bool {
    !matches!(dtype, Dtype::Float64 | Dtype::Float32 | Dtype::Float16 | Dtype::BFloat16)
}

/// A float32 master stored in its type, as the original stores it.
pub(super) fn store_master(id: &BlobId, coding: Coding, master: &[u8]) -> Result<(Coding, Bytes)> {
    let Encoding::Codes(dtype, numerics) = coding.encoding else { return Err(Fault::Config.at(id, "no codes")) };
    if dtype == Dtype::Float32 {
        return Ok((coding, Bytes::copy_from_slice(master)));
    }
    let coding = coding_of_master(coding, dtype, master);
    ensure(coding.scale.is_finite() && (coding.scale != 0.0 || !uses_scale(dtype)), || {
        Fault::Scale.at(id, format!("its weights ask for a scale of {}, which no file can hold", coding.scale))
    })?;
    Ok((coding, dtype.quantise(numerics, singles(master), coding.affine()).into()))
}

/// How a master will be coded: a scale of 1 means one chosen for the weights.
pub(super) fn coding_of_master(coding: Coding, dtype: Dtype, master: &[u8]) -> Coding {
    if coding.scale != 1.0 || dtype == Dtype::Float32 {
        return coding;
    }
    Coding::loom(dtype, dtype.choose(Numerics::Loom, &Magnitudes::of(singles(master))).scale)
}

fn singles(bytes: &[u8]) -> impl Iterator<Item = f64> + '_ {
    bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b)))
}

/// A weight that is another number under `loom` than under `standard`.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("element {element} is {ours:e} in standard {dtype}, and would be read as {theirs:e}; store it under loom")]
struct Misread {
    element: usize,
    dtype: Dtype,
    ours: f64,
    theirs: f64,
}

/// `Err` with the first weight that `loom` would decode to another number.
fn same_under_loom(n: usize, dtype: Dtype, coding: Coding, bytes: &[u8]) -> std::result::Result<(), Misread> {
    if !uses_scale(dtype) {
        // IEEE patterns mean the same in both profiles.
        return Ok(());
    }
    let loom = dtype.affine(Numerics::Loom, coding.scale);
    let bits = dtype.bits();
    let differs = |code: u64| {
        let (ours, theirs) =
            (dtype.value(Numerics::Standard, code, coding.affine()), dtype.value(Numerics::Loom, code, loom));
        (ours.to_bits() != theirs.to_bits()).then_some((ours, theirs))
    };
    let table: Vec<_> = if bits <= 8 { (0..1u64 << bits).map(differs).collect() } else { Vec::new() };
    let mut found = None;
    crate::dtype::unpack(bits, bytes, 0, n, |i, code| {
        if found.is_none() {
            let difference = if bits <= 8 { table[code as usize] } else { differs(code) };
            found = difference.map(|(ours, theirs)| Misread { element: i, dtype, ours, theirs });
        }
    });
    found.map_or(Ok(()), Err)
}
