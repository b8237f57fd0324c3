use loom_core::layers::{ConvSpec, PadMode};
use loom_core::{LayerSpec, RoleShape};

use super::{Layer, Link};
use crate::error::{At, Error, Flaw};
use crate::request::{Fields, Sizes};

/// A convolution over `N` axes, whose extents have names.
pub(super) struct Conv<const N: usize> {
    in_channels: i64,
    filters: i64,
    input: [(&'static str, i64); N],
    kernel_size: i64,
    stride: i64,
    padding: i64,
    activation: String,
    weights: Vec<f32>,
    bias: Vec<f32>,
    kind: fn(ConvSpec<N>) -> LayerSpec,
}

impl<const N: usize> Conv<N> {
    fn new(fields: Fields, kind: fn(ConvSpec<N>) -> LayerSpec, input: [(&'static str, i64); N]) -> Self {
        let Fields { sizes, activation, weights, bias, .. } = fields;
        let Sizes { in_channels, filters, kernel_size, stride, padding, .. } = sizes;
        Self { in_channels, filters, input, kernel_size, stride, padding, activation, weights, bias, kind }
    }

    /// The windows along an axis; 0 where it has none.
    fn windows(&self, extent: i64) -> i64 {
        let padded = self.padding.checked_mul(2).and_then(|both| extent.checked_add(both));
        match padded.and_then(|padded| padded.checked_sub(self.kernel_size)) {
            Some(room) if room >= 0 && self.stride > 0 => room / self.stride + 1,
            _ => 0,
        }
    }
}

impl From<Fields> for Conv<1> {
    fn from(fields: Fields) -> Self {
        let input = [("input_length", fields.sizes.input_length)];
        Self::new(fields, LayerSpec::Cnn1, input)
    }
}

impl From<Fields> for Conv<2> {
    fn from(fields: Fields) -> Self {
        let Sizes { input_height, input_width, .. } = fields.sizes;
        let input = [("input_height", input_height), ("input_width", input_width)];
        Self::new(fields, LayerSpec::Cnn2, input)
    }
}

impl From<Fields> for Conv<3> {
    fn from(fields: Fields) -> Self {
        let Sizes { input_depth, input_height, input_width, .. } = fields.sizes;
        let input = [("input_depth", input_depth), ("input_height", input_height), ("input_width", input_width)];
        Self::new(fields, LayerSpec::Cnn3, input)
    }
}

impl<const N: usize> Layer for Conv<N> {
    fn links(&self) -> Vec<Link> {
        let channels = Link { size: "in_channels", given: self.in_channels, next: self.filters };
        let axis = |&(size, given): &(_, i64)| Link { size, given, next: self.windows(given) };
        std::iter::once(channels).chain(self.input.iter().map(axis)).collect()
    }

    fn spec(&self, at: At) -> Result<LayerSpec, Error> {
        Ok((self.kind)(ConvSpec {
            in_channels: at.size("in_channels", self.in_channels)?,
            filters: at.size("filters", self.filters)?,
            input: self.input.iter().map(|&(name, given)| at.size(name, given)).collect::<Result<_, _>>()?,
            kernel_size: at.size("kernel_size", self.kernel_size)?.into(),
            stride: at.size("stride", self.stride)?.into(),
            padding: usize::try_from(self.padding).map_err(|_| at.error(Flaw::Padding))?.into(),
            padding_mode: PadMode::Zeros,
            dilation: 1.into(),
            groups: 1,
            output: None,
            activation: at.activation(&self.activation)?,
            // A file of version 1 has no place for one, so zeros count as none.
            bias: self.bias.iter().any(|v| *v != 0.0),
        }))
    }

    fn arrays(self: Box<Self>, at: At, roles: &[RoleShape]) -> Result<Vec<Vec<f32>>, Error> {
        at.matrix(roles, self.weights, self.bias)
    }
}
