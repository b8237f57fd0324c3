//! Numbers as rows: `y[…, k] = 1` where the number, its fraction cut off, is k, otherwise 0.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::{Family, Layer, Run, elements, positive};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, kernels};
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    ONEHOT = Kernel::weightless("onehot", &[include_str!("gpu.wgsl")]);
}

/// Configuration of one-hot rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneHotSpec {
    /// Elements of a row. A number outside of them makes a row of zeros.
    pub classes: usize,
}

impl OneHotSpec {
    fn shape(&self, x: &[usize]) -> Vec<usize> {
        x.iter().copied().chain([self.classes]).collect()
    }
}

impl Family for OneHotSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        positive(&[("classes", self.classes)])
    }

    fn makes(&self, shape: &[usize]) -> usize {
        elements(&self.shape(shape))
    }

    fn forward(&self, _: &mut Run<'_>, _: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let mut y = vec![0.0; x.len() * self.classes];
        for (row, &v) in y.chunks_exact_mut(self.classes).zip(x.data()) {
            // What is not above -1 would become 0 as well.
            if v > -1.0
                && let Some(one) = row.get_mut(v as usize)
            {
                *one = 1.0;
            }
        }
        Ok(Tensor::of(self.shape(x.shape()), y))
    }

    #[cfg(feature = "gpu")]
    fn record(&self, recorder: &mut Recorder<'_>, _: &Layer, x: &GpuArray, _: Option<&GpuArray>) -> Result<GpuArray> {
        let y = recorder.tape.array(self.shape(&x.shape));
        recorder.tape.op(ONEHOT, y.len(), [x.at, y.at, self.classes as u32]);
        Ok(y)
    }
}
