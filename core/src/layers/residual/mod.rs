//! `y = x + skip` where a skip of equal element count exists, otherwise `y = x`.
//!
//! The skip comes from a sequential container (the input of the step before) or, at top
//! level, from the network input that the cell names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::{Family, Layer, Run};
use crate::error::Result;
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, kernels};
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    RESIDUAL = Kernel::weightless("residual", &[include_str!("gpu.wgsl")]);
}

/// Configuration of a residual layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResidualSpec {
    /// Features of a row. The sum does not depend on it; files of the original say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dim: Option<usize>,
}

impl Family for ResidualSpec {
    fn forward(&self, _: &mut Run<'_>, _: &Layer, x: &Tensor, skip: Option<&Tensor>) -> Result<Tensor> {
        let y = match skip.filter(|skip| skip.len() == x.len()) {
            Some(skip) => x.data().iter().zip(skip.data()).map(|(a, b)| a + b).collect(),
            None => x.data().to_vec(),
        };
        Ok(Tensor::of(x.shape().to_vec(), y))
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        _: &Layer,
        x: &GpuArray,
        skip: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        let Some(skip) = skip.filter(|skip| skip.len() == x.len()) else { return Ok(x.clone()) };
        let y = recorder.tape.array(x.shape.clone());
        recorder.tape.op(RESIDUAL, x.len(), [x.at, skip.at, y.at]);
        Ok(y)
    }
}
