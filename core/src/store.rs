//! Weight stores: one per role of a layer.
//!
//! A layer never owns one flat array. Each role has a store of its own, so that one role
//! can later be held in another dtype than its neighbour; the flat order of Loom's files is
//! a packing order ([`crate::layers::packing`]), not a model.

use std::collections::BTreeMap;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dtype::{Affine, Dtype, Magnitudes, Numerics, Rule, unpack};
use crate::error::{Error, Result};
use crate::role::Role;
use crate::tensor::element_count;

/// The stores of one layer.
pub type Weights = BTreeMap<Role, WeightStore>;

/// Weights by layer path: `layers.<index>`, then `.sequential_layers.<i>`,
/// `.parallel_branches.<i>`, `.filter_gate` or `.meta_observed_layer`.
pub type WeightTable = BTreeMap<String, Weights>;

/// How a network is to store its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The numerical type.
    pub dtype: Dtype,
    /// The profile. Under `loom` all roles of a layer share one scale, as the original packs
    /// them; under `standard` each has its own.
    pub numerics: Numerics,
    /// What happens to gains, shifts and biases. `loom` always stores them in the type, but for
    /// the norms of queries and keys, which the original keeps apart.
    pub vectors: Vectors,
}

impl Storage {
    /// One store in this type. `shared` is the map of the whole layer, which `loom` asks for.
    pub(crate) fn morph(&self, role: Role, store: &WeightStore, shared: Option<Affine>) -> Result<WeightStore> {
        let Storage { dtype, numerics, vectors } = *self;
        match shared {
            Some(_) if role.is_outside_array() => store.morph(Dtype::Float32, numerics),
            Some(affine) => store.quantised(dtype, numerics, affine),
            None if role.is_vector() && vectors == Vectors::Float32 && dtype != Dtype::Float64 => {
                store.morph(Dtype::Float32, numerics)
            }
            None => store.morph(dtype, numerics),
        }
    }
}

/// What [`Storage`] does with gains, shifts and biases under `standard`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vectors {
    /// They stay f32, or f64 beside float64 matrices, as is usual: they are few, and errors in
    /// them are not averaged out.
    #[default]
    Float32,
    /// They are stored in the type like matrices.
    Stored,
}

/// The affine maps of a store, at the granularity at which they were chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scales {
    /// One for the whole tensor.
    Tensor(Affine),
}

/// The weights of one role as packed codes of a dtype, always finite. The bytes are the only
/// truth; everything else is derived from them. Cheap to clone: the bytes are shared.
#[derive(Clone, Debug)]
pub struct WeightStore {
    dtype: Dtype,
    numerics: Numerics,
    shape: Vec<usize>,
    scales: Scales,
    bytes: Bytes,
}

impl WeightStore {
    /// Takes f32 weights in row-major order.
    ///
    /// # Errors
    /// [`Error::Shape`] when the product of `shape` is not the number of elements,
    /// [`Error::NonFinite`] when one of them is NaN or infinite.
    pub fn f32(shape: Vec<usize>, data: Vec<f32>) -> Result<Self> {
        let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::plain(Dtype::Float32, shape, bytes.into())
    }

    /// Takes f64 weights in row-major order.
    ///
    /// # Errors
    /// As [`WeightStore::f32`].
    pub fn f64(shape: Vec<usize>, data: Vec<f64>) -> Result<Self> {
        let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::plain(Dtype::Float64, shape, bytes.into())
    }

    pub(crate) fn plain(dtype: Dtype, shape: Vec<usize>, bytes: Bytes) -> Result<Self> {
        let elements = bytes.len() / (dtype.bits() / 8);
        if element_count(&shape) != Some(elements) {
            return Err(Error::Shape { shape, elements });
        }
        let scales = Scales::Tensor(dtype.affine(Numerics::Standard, 1.0));
        Self::packed(dtype, Numerics::Standard, shape, scales, bytes)
    }

    /// Takes packed codes in row-major order.
    ///
    /// # Errors
    /// [`Error::Packed`] when the bytes are not exactly as many as the shape needs,
    /// [`Error::ZeroPoint`] when the type cannot have the zero point,
    /// [`Error::NonFinite`] when a code stands for NaN or infinity, [`Error::Code`] when it stands
    /// for no weight.
    pub fn packed(
        dtype: Dtype,
        numerics: Numerics,
        shape: Vec<usize>,
        scales: Scales,
        bytes: impl Into<Bytes>,
    ) -> Result<Self> {
        let bytes: Bytes = bytes.into();
        let needed = element_count(&shape).and_then(|n| dtype.packed_len(n));
        if needed != Some(bytes.len()) {
            return Err(Error::Packed { dtype, shape, needed, given: bytes.len() });
        }
        let (Scales::Tensor(Affine { zero_point, .. }), most) = (scales, dtype.largest_zero_point(numerics));
        if zero_point > most {
            return Err(Error::ZeroPoint { dtype, numerics, zero_point, most });
        }
        let store = Self { dtype, numerics, shape, scales, bytes };
        let Scales::Tensor(affine) = scales;
        match dtype.first_unsound(numerics, affine, &store.bytes, store.len()) {
            Some((index, code)) if !dtype.has(code) => Err(Error::Code { index, code, dtype }),
            Some((index, code)) => Err(Error::NonFinite { index, value: dtype.value(numerics, code, affine) }),
            None => Ok(store),
        }
    }

    /// The same weights in another type, by a scale that it chooses for them.
    ///
    /// # Errors
    /// [`Error::Unrepresentable`] when a weight would become infinite or NaN.
    pub fn morph(&self, dtype: Dtype, numerics: Numerics) -> Result<Self> {
        let affine = dtype.choose(numerics, &Magnitudes::of(self.iter()));
        self.quantised(dtype, numerics, affine)
    }

    /// The same weights in another type, by a given map.
    ///
    /// # Errors
    /// As [`WeightStore::morph`].
    pub fn quantised(&self, dtype: Dtype, numerics: Numerics, affine: Affine) -> Result<Self> {
        let bytes = dtype.quantise(numerics, self.iter(), affine);
        Self::packed(dtype, numerics, self.shape.clone(), Scales::Tensor(affine), bytes).map_err(|error| match error {
            Error::NonFinite { index, .. } => {
                Error::Unrepresentable { index, weight: self.value(index), dtype, scale: affine.scale }
            }
            other => other,
        })
    }

    /// The numerical type.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The profile that says what its codes mean.
    #[must_use]
    pub fn numerics(&self) -> Numerics {
        self.numerics
    }

    /// The extent of every axis, slowest first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// What joins codes to weights.
    #[must_use]
    pub fn scales(&self) -> Scales {
        self.scales
    }

    /// The packed codes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The packed codes, shared with the store.
    pub(crate) fn shared_bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The number of weights.
    #[must_use]
    pub fn len(&self) -> usize {
        // The constructor has multiplied the shape.
        self.shape.iter().product()
    }

    /// Whether there are no weights.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The codes in row-major order.
    pub fn codes(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs().flat_map(|(start, n)| {
            let mut run = vec![0; n];
            unpack(self.dtype.bits(), &self.bytes, start, n, |i, code| run[i] = code);
            run
        })
    }

    /// The weights in row-major order.
    pub fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        self.runs().flat_map(|(start, n)| {
            let mut run = vec![0.0; n];
            self.decode(start, &mut run);
            run
        })
    }

    /// The elements in runs of moderate length: start and length.
    fn runs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        const RUN: usize = 1024;
        (0..self.len()).step_by(RUN).map(|start| (start, RUN.min(self.len() - start)))
    }

    /// The largest error that storing `weight` as element `index` may have made.
    #[must_use]
    pub fn error_bound(&self, _index: usize, weight: f64) -> f64 {
        let Scales::Tensor(affine) = self.scales;
        self.dtype.error_bound(self.numerics, weight, affine.scale)
    }

    /// The weights in row-major order, rounded to f32.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        self.iter().map(|w| w as f32).collect()
    }

    fn value(&self, index: usize) -> f64 {
        let mut value = [0.0];
        self.decode(index, &mut value);
        value[0]
    }

    /// Decodes the weights from `start` on, as many as `out` holds: the reference for kernels of
    /// every rule but [`Rule::Narrow`].
    pub(crate) fn decode(&self, start: usize, out: &mut [f64]) {
        let (dtype, numerics, Scales::Tensor(affine)) = (self.dtype, self.numerics, self.scales);
        let (bits, n) = (dtype.bits(), out.len());
        match dtype {
            Dtype::Float32 => {
                unpack(bits, &self.bytes, start, n, |i, code| out[i] = f64::from(f32::from_bits(code as u32)));
            }
            // A table is worth making for more weights than it has entries.
            _ if bits <= 8 && n > 1 << bits => {
                let table = dtype.table(numerics, affine);
                unpack(bits, &self.bytes, start, n, |i, code| out[i] = f64::from(table[code as usize]));
            }
            _ => unpack(bits, &self.bytes, start, n, |i, code| out[i] = dtype.value(numerics, code, affine)),
        }
    }

    /// The number of every code, for [`Rule::Narrow`].
    pub(crate) fn numbers(&self) -> Vec<i32> {
        let Scales::Tensor(affine) = self.scales;
        self.dtype.numbers(self.numerics, affine)
    }

    /// What `table` has for the codes from `start` on, as many as `out` holds.
    pub(crate) fn look_up(&self, table: &[i32], start: usize, out: &mut [i32]) {
        unpack(self.dtype.bits(), &self.bytes, start, out.len(), |i, code| out[i] = table[code as usize]);
    }

    /// How kernels decode it.
    pub(crate) fn rule(&self) -> Rule {
        self.dtype.rule(self.numerics)
    }

    /// The extents of the matrix that kernels see: `shape[0]` outputs, and the product of the other axes, which are
    /// summed over.
    pub(crate) fn extents(&self) -> (usize, usize) {
        let outs = self.shape[0];
        (outs, self.len() / outs.max(1))
    }
}
