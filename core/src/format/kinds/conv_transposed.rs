//! Transposed convolutions along one to three axes.

use super::conv::{kernel, one_for_all};
use super::{Place, Recorded};
use crate::error::{PackingError, Result};
use crate::format::path::LayerPath;
use crate::format::record::{Key, Record};
use crate::layers::{ConvTransposedSpec, RoleShape};
use crate::role::Role;

/// The keys of a single axis, which are others than those of a convolution.
const ONE: [Key; 2] = [Key::InputWidth, Key::OutputWidth];

impl<const N: usize> Recorded for ConvTransposedSpec<N> {
    const BESIDE: &[Role] = &[Role::Bias];

    fn has_keys(&self) -> bool {
        let windows = one_for_all([&self.kernel_size, &self.stride, &self.dilation], &self.padding, self.groups);
        windows && self.activation.original().is_some()
    }

    fn of_record(record: &Record, place: &Place<'_>) -> Result<Self> {
        let [input, output] = record.planes::<N>(ONE);
        Ok(Self {
            in_channels: record.size(Key::InputChannels),
            filters: record.size(Key::Filters),
            input,
            kernel_size: record.size(Key::KernelSize).into(),
            stride: record.size(Key::Stride).max(1).into(),
            padding: record.size(Key::Padding).into(),
            dilation: 1.into(),
            groups: 1,
            output_padding: record.size(Key::OutputPadding),
            output: Some(output),
            activation: record.activation,
            bias: place.bias(false),
        })
    }

    fn to_record(&self, record: &mut Record, _: &LayerPath) -> Result<()> {
        record.activation = self.activation;
        record.set_planes(ONE, &self.input, &self.output_extents());
        record.set_sizes(&[
            (Key::InputChannels, self.in_channels),
            (Key::Filters, self.filters),
            (Key::KernelSize, self.kernel_size.same().unwrap_or(0)),
            (Key::Stride, self.stride.same().unwrap_or(1)),
            (Key::Padding, self.padding.same().unwrap_or(0)),
            (Key::OutputPadding, self.output_padding),
        ]);
        Ok(())
    }

    fn array_roles(record: &Record) -> std::result::Result<Vec<RoleShape>, PackingError> {
        Ok(vec![kernel::<N>(record)])
    }

    fn shape_beside(record: &Record, _: Role, _: usize) -> std::result::Result<Vec<usize>, PackingError> {
        Ok(vec![record.size(Key::Filters)])
    }
}
