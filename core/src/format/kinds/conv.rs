//! Convolutions along one to three axes.

use super::{Place, Recorded, role};
use crate::error::{PackingError, Result};
use crate::format::path::LayerPath;
use crate::format::record::{Key, Record};
use crate::layers::{ConvSpec, PadMode, Padding, PerAxis, RoleShape};
use crate::role::Role;

/// The keys of a single axis.
const ONE: [Key; 2] = [Key::InputHeight, Key::OutputHeight];

/// The kernel, which transposed convolutions have as well.
pub(super) fn kernel<const N: usize>(record: &Record) -> RoleShape {
    let mut shape = vec![record.size(Key::Filters), record.size(Key::InputChannels)];
    shape.extend([record.size(Key::KernelSize).max(1); N]);
    role(Role::Weight, &shape)
}

/// Whether kernel, stride and padding are one number each, and there is neither dilation nor a division into groups.
pub(super) fn one_for_all([kernel, stride, dilation]: [&PerAxis; 3], padding: &Padding, groups: usize) -> bool {
    let same = [kernel.same(), stride.same(), padding.same()].iter().all(Option::is_some);
    same && dilation.same() == Some(1) && groups == 1
}

impl<const N: usize> Recorded for ConvSpec<N> {
    const BESIDE: &[Role] = &[Role::Bias];

    fn has_keys(&self) -> bool {
        let windows = one_for_all([&self.kernel_size, &self.stride, &self.dilation], &self.padding, self.groups);
        windows && self.padding_mode == PadMode::Zeros && self.activation.original().is_some()
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
            padding_mode: PadMode::Zeros,
            dilation: 1.into(),
            groups: 1,
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
