//! Dense row-major f32 tensors: what flows between layers.

use crate::error::{Error, Result};

/// A row-major (C order) f32 array with its shape. The element count always equals the
/// product of the shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// Takes `data` in row-major order.
    ///
    /// # Errors
    /// [`Error::Shape`] when the product of `shape` is not the number of elements.
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Result<Self> {
        if element_count(&shape) != Some(data.len()) {
            return Err(Error::Shape { shape, elements: data.len() });
        }
        Ok(Self { shape, data })
    }

    /// Makes a tensor whose shape is right by construction.
    pub(crate) fn of(shape: Vec<usize>, data: Vec<f32>) -> Self {
        debug_assert_eq!(element_count(&shape), Some(data.len()));
        Self { shape, data }
    }

    /// The extent of every axis, slowest first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements in row-major order.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The elements, without the shape.
    #[must_use]
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The first extent, 1 for a scalar: how many samples a batch holds.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }
}

/// The product of `shape`, unless it overflows.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}
