//! An array of an archive, and the digest of its elements.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The elements of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// Bytes. [`super::read_packed`] alone reads them.
    U8(Vec<u8>),
}

impl Data {
    /// The elements at these places, in this order.
    ///
    /// # Panics
    /// When a place is beyond the last element.
    #[must_use]
    pub fn pick(&self, places: impl IntoIterator<Item = usize>) -> Self {
        let places = places.into_iter();
        match self {
            Data::F32(data) => Data::F32(places.map(|place| data[place]).collect()),
            Data::F64(data) => Data::F64(places.map(|place| data[place]).collect()),
            Data::U8(data) => Data::U8(places.map(|place| data[place]).collect()),
        }
    }

    /// The elements as little-endian bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Data::F32(data) => data.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Data::F64(data) => data.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Data::U8(data) => data.clone(),
        }
    }

    /// Whether both hold the same bits.
    #[must_use]
    pub fn same_bits(&self, other: &Self) -> bool {
        match (self, other) {
            (Data::F32(a), Data::F32(b)) => a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits())),
            (Data::F64(a), Data::F64(b)) => a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits())),
            (Data::U8(a), Data::U8(b)) => a == b,
            _ => false,
        }
    }
}

/// An array with the digest of its content.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents, slowest axis first.
    pub shape: Vec<usize>,
    /// Elements in C order.
    pub data: Data,
    /// SHA-256 of the elements as little-endian bytes in C order, in hexadecimal; empty where
    /// [`super::read_some`] has read them.
    pub sha256: String,
}

impl Array {
    /// An array with its digest.
    ///
    /// # Panics
    /// When there are more or fewer elements than the shape has, in debug builds.
    #[must_use]
    pub fn of(shape: Vec<usize>, data: Data) -> Self {
        let array = Self { sha256: sha256(&data.bytes()), shape, data };
        debug_assert_eq!(array.shape.iter().product::<usize>(), array.len(), "shape {:?}", array.shape);
        array
    }

    /// The name of the element type: `float32`, `float64` or `uint8`.
    #[must_use]
    pub fn dtype(&self) -> &'static str {
        match self.data {
            Data::F32(_) => "float32",
            Data::F64(_) => "float64",
            Data::U8(_) => "uint8",
        }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.data {
            Data::F32(data) => data.len(),
            Data::F64(data) => data.len(),
            Data::U8(data) => data.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The SHA-256 of `bytes` in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

pub(super) fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The SHA-256 of `values` as little-endian bytes, in hexadecimal.
#[must_use]
pub fn sha256_f32(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    sha256(&bytes)
}
