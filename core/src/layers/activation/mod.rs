//! An activation alone: `y = act(x)` for each element, computed in f64 with one rounding.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::{Activation, Family, Layer, Run};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, SPECIAL, kernels};
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    ACTIVATION = Kernel::weightless("activation", &[SPECIAL, include_str!("gpu.wgsl")]);
}

/// Configuration of a layer that is an activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationSpec {
    /// The activation.
    pub function: Activation,
}

#[cfg(feature = "gpu")]
impl Recorder<'_> {
    /// `act` of every element of `x` into `y`, which may be the same.
    pub(super) fn activate(&mut self, x: &GpuArray, y: &GpuArray, activation: Activation) {
        let (rule, [p, q]) = activation.rule();
        let numbers = [self.tape.real(p), self.tape.real(q)];
        let args: Vec<u32> = [x.at, y.at, rule].into_iter().chain(numbers.concat()).collect();
        self.tape.op(ACTIVATION, x.len(), args);
    }

    /// The number by which kernels know an activation, which they apply where they round; one that they do not
    /// know is applied by [`Recorder::finish`].
    pub(super) fn fused(activation: Activation) -> u32 {
        activation.original().unwrap_or(0)
    }

    /// Applies, in place, an activation that the kernel which made `y` does not know.
    pub(super) fn finish(&mut self, y: &GpuArray, activation: Activation) {
        if activation.original().is_none() {
            self.activate(y, y, activation);
        }
    }
}

impl Family for ActivationSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        self.function.check()
    }

    fn forward(&self, run: &mut Run<'_>, _: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let y = run.cpu.elements(x.data(), |_, v| self.function.apply(v));
        Ok(Tensor::of(x.shape().to_vec(), y))
    }

    #[cfg(feature = "gpu")]
    fn record(&self, recorder: &mut Recorder<'_>, _: &Layer, x: &GpuArray, _: Option<&GpuArray>) -> Result<GpuArray> {
        let y = recorder.tape.array(x.shape.clone());
        recorder.activate(x, &y, self.function);
        Ok(y)
    }
}
