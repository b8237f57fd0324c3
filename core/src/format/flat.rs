//! The flat packing order of the original: one array per layer.
//!
//! Roles follow each other in a fixed order, except that an LSTM packs gate by gate (input
//! matrix, recurrent matrix, bias of i, then of f, g, o). Query and key norms are not part of
//! the array.

#![forbid(unsafe_code)]

use std::ops::Range;

use bytes::Bytes;

use super::record::{Key, Record};
use crate::dtype::{Dtype, unpack as each_code};
use crate::layers::{LayerKind, LayerSpec, RoleShape};
use crate::role::Role;
use crate::store::{WeightStore, Weights};
use crate::tensor::element_count;

/// How a layer's array is laid out.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The roles, in packing order.
    pub(super) roles: Vec<RoleShape>,
    /// Into how many blocks each role is cut, that take turns.
    blocks: usize,
}

impl Layout {
    fn of_spec(spec: &LayerSpec) -> Result<Self, String> {
        let mut roles = spec.roles();
        roles.retain(|role| !role.role.is_outside_array());
        Self { roles, blocks: blocks(spec.kind()) }.checked()
    }

    /// The array that version 1 and JSON have for a layer: the original's weight count by kind,
    /// biases always among them.
    pub(super) fn of_record(record: &Record) -> Result<Self, String> {
        let size = |key: Key| record.size(key);
        let (input, output) = (size(Key::InputHeight), size(Key::OutputHeight));
        let role = |role: Role, shape: &[usize]| RoleShape { role, shape: shape.to_vec() };
        let conv = |axes: usize| {
            let kernel = size(Key::KernelSize).max(1);
            let mut shape = vec![size(Key::Filters), size(Key::InputChannels)];
            shape.extend(vec![kernel; axes]);
            vec![RoleShape { role: Role::Weight, shape }]
        };
        let roles = match record.kind {
            LayerKind::Dense => vec![role(Role::Weight, &[output, input])],
            LayerKind::RmsNorm => vec![role(Role::Gamma, &[input])],
            LayerKind::LayerNorm => vec![role(Role::Gamma, &[input]), role(Role::Beta, &[input])],
            LayerKind::Mha => {
                let d = size(Key::DModel);
                let (q, kv) = Self::attention(record)?;
                vec![
                    role(Role::QWeight, &[q, d]),
                    role(Role::KWeight, &[kv, d]),
                    role(Role::VWeight, &[kv, d]),
                    role(Role::OWeight, &[d, q]),
                    role(Role::QBias, &[q]),
                    role(Role::KBias, &[kv]),
                    role(Role::VBias, &[kv]),
                    role(Role::OBias, &[d]),
                ]
            }
            LayerKind::Rnn | LayerKind::Lstm => {
                let rows = output.checked_mul(blocks(record.kind)).ok_or("its size overflows")?;
                vec![
                    role(Role::InputWeight, &[rows, input]),
                    role(Role::RecurrentWeight, &[rows, output]),
                    role(Role::Bias, &[rows]),
                ]
            }
            LayerKind::SwiGlu => vec![
                role(Role::GateWeight, &[output, input]),
                role(Role::UpWeight, &[output, input]),
                role(Role::DownWeight, &[input, output]),
                role(Role::GateBias, &[output]),
                role(Role::UpBias, &[output]),
                role(Role::DownBias, &[input]),
            ],
            LayerKind::Cnn1 | LayerKind::ConvTransposed1 => conv(1),
            LayerKind::Cnn2 | LayerKind::ConvTransposed2 => conv(2),
            LayerKind::Cnn3 | LayerKind::ConvTransposed3 => conv(3),
            LayerKind::Embedding => vec![role(Role::Weight, &[size(Key::VocabSize), size(Key::EmbeddingDim)])],
            LayerKind::KMeans => vec![role(Role::Centers, &[size(Key::NumClusters), input])],
            LayerKind::Softmax
            | LayerKind::Parallel
            | LayerKind::Sequential
            | LayerKind::Residual
            | LayerKind::Metacognition => Vec::new(),
        };
        Self { roles, blocks: blocks(record.kind) }.checked()
    }

    /// Query and key/value widths of an attention record.
    pub(super) fn attention(record: &Record) -> Result<(usize, usize), String> {
        let d = record.size(Key::DModel);
        let kv = record.size(Key::NumKvHeads).checked_mul(record.size(Key::HeadDim)).ok_or("its size overflows")?;
        let or = |size: usize| if size == 0 { d } else { size };
        Ok((or(record.size(Key::QueryDim)), or(kv)))
    }

    fn checked(self) -> Result<Self, String> {
        let counts: Option<Vec<usize>> = self.roles.iter().map(|role| element_count(&role.shape)).collect();
        // A few bytes for each element must fit as well.
        let total = counts.and_then(|counts| counts.iter().try_fold(0usize, |sum, &n| sum.checked_add(n)));
        match total.and_then(|total| total.checked_mul(64)) {
            Some(_) => Ok(self),
            None => Err("its size overflows".into()),
        }
    }

    /// Weights in the array.
    pub(super) fn count(&self) -> usize {
        self.roles.iter().map(|role| role.shape.iter().product::<usize>()).sum()
    }

    /// The shape of a role of the array.
    pub(super) fn shape(&self, role: Role) -> Option<&[usize]> {
        self.roles.iter().find(|known| known.role == role).map(|known| known.shape.as_slice())
    }

    /// The array's pieces in order: an index among the roles, and which of its elements.
    fn pieces(&self) -> Vec<(usize, Range<usize>)> {
        let size = |role: &RoleShape| role.shape.iter().product::<usize>() / self.blocks;
        let block = |b: usize| {
            let pieces = self.roles.iter().enumerate();
            pieces.map(move |(i, role)| (i, b * size(role)..(b + 1) * size(role)))
        };
        (0..self.blocks).flat_map(block).collect()
    }

    /// Cuts the packed codes of an array into those of each role. Where pieces end within a byte
    /// they are packed anew; otherwise nothing is copied.
    pub(super) fn split(&self, bits: usize, array: &Bytes) -> Vec<Bytes> {
        let mut start = 0;
        let mut parts: Vec<Vec<Range<usize>>> = vec![Vec::new(); self.roles.len()];
        for (role, range) in self.pieces() {
            let len = range.len();
            parts[role].push(start..start + len);
            start += len;
        }
        let total = start;
        let part = |ranges: Vec<Range<usize>>| {
            let whole = |r: &Range<usize>| {
                (r.start * bits).is_multiple_of(8) && ((r.end * bits).is_multiple_of(8) || r.end == total)
            };
            match ranges.as_slice() {
                [one] if whole(one) => array.slice(one.start * bits / 8..(one.end * bits).div_ceil(8)),
                many if bits >= 8 => {
                    let pieces: Vec<&[u8]> =
                        many.iter().map(|r| &array[r.start * bits / 8..r.end * bits / 8]).collect();
                    pieces.concat().into()
                }
                many => {
                    let mut codes = Vec::new();
                    many.iter().for_each(|r| each_code(bits, array, r.start, r.len(), |_, code| codes.push(code)));
                    pack(bits, codes).into()
                }
            }
        };
        parts.into_iter().map(part).collect()
    }

    /// Joins the packed codes of each role into one array: the inverse of [`Layout::split`].
    pub(super) fn join(&self, bits: usize, roles: &[Bytes]) -> Bytes {
        let pieces = self.pieces();
        match (roles, bits) {
            ([one], _) => one.clone(),
            (_, 8..) => {
                let piece = |(i, r): &(usize, Range<usize>)| &roles[*i][r.start * bits / 8..r.end * bits / 8];
                pieces.iter().map(piece).collect::<Vec<_>>().concat().into()
            }
            _ => {
                let mut codes = Vec::new();
                for (i, range) in pieces {
                    each_code(bits, &roles[i], range.start, range.len(), |_, code| codes.push(code));
                }
                pack(bits, codes).into()
            }
        }
    }
}

fn blocks(kind: LayerKind) -> usize {
    if kind == LayerKind::Lstm { 4 } else { 1 }
}

fn pack(bits: usize, codes: Vec<u64>) -> Vec<u8> {
    crate::dtype::pack(bits, codes.into_iter())
}

/// The stores of a layer in the order of its layout.
fn stored<'a>(layout: &Layout, weights: &'a Weights) -> Result<Vec<&'a WeightStore>, String> {
    let find = |RoleShape { role, shape }: &RoleShape| {
        let store = weights.get(role).filter(|store| store.shape() == shape);
        store.ok_or_else(|| format!("no {role} weights of shape {shape:?}"))
    };
    layout.roles.iter().map(find).collect()
}

/// The weights of a layer in packing order.
///
/// # Errors
/// A sentence when a role is missing or has another shape than the configuration says.
pub fn pack_weights<'a>(spec: &LayerSpec, weights: &'a Weights) -> Result<impl Iterator<Item = f64> + 'a, String> {
    let layout = Layout::of_spec(spec)?;
    let stores = stored(&layout, weights)?;
    let pieces = layout.pieces();
    Ok(pieces.into_iter().flat_map(move |(i, range)| stores[i].iter().skip(range.start).take(range.len())))
}

/// The codes of a layer in packing order, across roles without gaps, as the original's files
/// have them.
///
/// # Errors
/// As [`pack_weights`], or when the roles are not of one dtype.
pub fn pack_codes(spec: &LayerSpec, weights: &Weights) -> Result<Vec<u8>, String> {
    let layout = Layout::of_spec(spec)?;
    let stores = stored(&layout, weights)?;
    let Some(first) = stores.first() else { return Ok(Vec::new()) };
    let dtype = first.dtype();
    if let Some(other) = stores.iter().find(|store| store.dtype() != dtype) {
        return Err(format!("weights of {dtype} and of {}; one array holds one type", other.dtype()));
    }
    let bytes: Vec<Bytes> = stores.iter().map(|store| store.shared_bytes()).collect();
    Ok(layout.join(dtype.bits(), &bytes).to_vec())
}

/// Splits a flat array into the roles of `spec`.
///
/// # Errors
/// A sentence with both lengths when the array is not as long as the roles need, or the
/// position of an element that is not finite.
pub fn unpack(spec: &LayerSpec, flat: &[f32]) -> Result<Weights, String> {
    spec.check()?;
    let layout = Layout::of_spec(spec)?;
    let total = layout.count();
    if total != flat.len() {
        return Err(format!("{} weights where {} needs {total}", flat.len(), spec.kind().name()));
    }
    let array: Bytes = flat.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into();
    let mut weights = Weights::new();
    for (role, bytes) in layout.roles.iter().zip(layout.split(32, &array)) {
        let store = WeightStore::plain(Dtype::Float32, role.shape.clone(), bytes);
        weights.insert(role.role, store.map_err(|e| format!("{}: {e}", role.role))?);
    }
    Ok(weights)
}
