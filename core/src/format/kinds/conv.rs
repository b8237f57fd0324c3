//! Convolutions along one to three axes.

use super::{Place, Recorded, role};
use crate::error::{PackingError, Result};
use crate::format::path::LayerPath;
use crate::format::record::{Key, Record};
use crate::layers::{ConvSpec, RoleShape};
use crate::role::Role;

/// The keys of a single axis.
const ONE: [Key; 2] = [Key::InputHeight, Key::OutputHeight];

/// The kernel, which transposed convolutions have as well.
pub(super) fn kernel<const N: usize>(record: &Record) -> RoleShape {
    let mut shape = vec![record.size(Key::Filters), record.size(Key::InputChannels)];
    shape.extend([record.size(Key::KernelSize).max(1); N]);
    role(Role::Weight, &shape)
}

impl<const N: usize> Recorded for ConvSpec<N> {
    const BESIDE: &[Role] = &[Role::Bias];

    fn of_record(record: &Record, place: &Place<'_>) -> Result<Self> {
        let [input, output] = record.planes::<N>(ONE);
        Ok(Self {
            in_channels: record.size(Key::InputChannels),
            filters: record.size(Key::Filters),
            input,
            kernel_size: record.size(Key::KernelSize),
            stride: record.size(Key::Stride).max(1),
            padding: record.size(Key::Padding),
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
            (Key::KernelSize, self.kernel_size),
            (Key::Stride, self.stride),
            (Key::Padding, self.padding),
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
