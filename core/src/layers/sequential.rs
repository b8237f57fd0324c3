//! Steps in order. A step also receives, as its skip, the input of the step before it;
//! only residual steps use it, so `[f, residual]` is `f(x) + x`.
//!
//! Disabled steps are passed over and invisible to the skip rule. No steps: the identity.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::{ChildSpec, Family, Layer, Run};
use crate::error::Result;
#[cfg(feature = "gpu")]
use crate::gpu::GpuArray;
use crate::tensor::Tensor;

/// Configuration of a sequential container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SequentialSpec {
    /// The steps.
    pub steps: Vec<ChildSpec>,
}

impl Family for SequentialSpec {
    fn children(&self) -> Vec<(String, ChildSpec)> {
        self.steps.iter().enumerate().map(|(i, step)| (format!("sequential_layers.{i}"), step.clone())).collect()
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let mut current = x.clone();
        let mut before: Option<Tensor> = None;
        let held = run.held;
        for step in layer.children().iter().filter(|step| !step.disabled) {
            let kept = x.len().saturating_add(before.as_ref().map_or(0, Tensor::len));
            run.held = held.saturating_add(kept);
            let y = run.child(step, &current, before.as_ref())?;
            before = Some(std::mem::replace(&mut current, y));
        }
        run.held = held;
        Ok(current)
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        let mut current = x.clone();
        let mut before: Option<GpuArray> = None;
        for step in layer.children().iter().filter(|step| !step.disabled) {
            let y = recorder.child(step, &current, before.as_ref())?;
            before = Some(std::mem::replace(&mut current, y));
        }
        Ok(current)
    }
}
