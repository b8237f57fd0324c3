//! Arrays of a layer, held to their lengths and cut into roles.

use loom_core::RoleShape;

use crate::error::{At, Error, Flaw};

impl At {
    /// An array that has `len` elements, in the original's words `wanted`.
    pub(super) fn array(
        self,
        array: &'static str,
        data: Vec<f32>,
        len: usize,
        wanted: impl ToString,
    ) -> Result<Vec<f32>, Error> {
        let given = data.len();
        if given == len { Ok(data) } else { Err(self.error(Flaw::Length { array, given, wanted: wanted.to_string() })) }
    }

    /// A matrix, kernel or table, and the shift of its outputs where the layer has that role.
    pub(super) fn matrix(self, roles: &[RoleShape], weights: Vec<f32>, bias: Vec<f32>) -> Result<Vec<Vec<f32>>, Error> {
        let shape = &roles[0].shape;
        let mut parts = vec![self.array("weights", weights, count(shape), shown(shape))?];
        if roles.len() > 1 {
            parts.push(self.array("bias", bias, shape[0], shape[0])?);
        }
        Ok(parts)
    }

    /// All roles one after the other in one array.
    pub(super) fn packed(self, roles: &[RoleShape], weights: Vec<f32>) -> Result<Vec<Vec<f32>>, Error> {
        let lens: Vec<usize> = roles.iter().map(|role| count(&role.shape)).collect();
        let len = lens.iter().sum();
        let mut rest = self.array("weights", weights, len, len)?;
        let mut parts = Vec::with_capacity(lens.len());
        for len in lens {
            let after = rest.split_off(len);
            parts.push(std::mem::replace(&mut rest, after));
        }
        Ok(parts)
    }

    /// A recurrent layer's gates, each of which holds its part of every role.
    pub(super) fn gates<const N: usize>(
        self,
        roles: &[RoleShape],
        gates: [(&'static str, Vec<f32>); N],
    ) -> Result<Vec<Vec<f32>>, Error> {
        let lens: Vec<usize> = roles.iter().map(|role| count(&role.shape) / N).collect();
        let len = lens.iter().sum();
        let mut parts = vec![Vec::new(); roles.len()];
        for (name, data) in gates {
            let gate = self.array(name, data, len, len)?;
            let mut rest = gate.as_slice();
            for (part, &len) in parts.iter_mut().zip(&lens) {
                let (block, after) = rest.split_at(len);
                part.extend_from_slice(block);
                rest = after;
            }
        }
        Ok(parts)
    }
}

/// The elements of a shape, of which a checked configuration has no more than fit.
pub(super) fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// A shape in the original's words: `4×3`, `4×1×3²`.
pub(super) fn shown(shape: &[usize]) -> String {
    match shape {
        [filters, channels, k, ..] => {
            let power = ["", "²", "³"][(shape.len() - 3).min(2)];
            format!("{filters}×{channels}×{k}{power}")
        }
        _ => shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("×"),
    }
}
