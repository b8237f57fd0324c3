//! Fully connected layers. The original's bridge keeps their biases beside the array.

use super::{Place, Recorded, role};
use crate::error::{PackingError, Result};
use crate::format::path::LayerPath;
use crate::format::record::{Key, Record};
use crate::layers::{DenseSpec, RoleShape};
use crate::role::Role;

impl Recorded for DenseSpec {
    const BESIDE: &[Role] = &[Role::Bias];
    const BRIDGED: &[Role] = &[Role::Bias];

    fn has_keys(&self) -> bool {
        self.activation.original().is_some()
    }

    fn of_record(record: &Record, place: &Place<'_>) -> Result<Self> {
        let [input_dim, output_dim] = [Key::InputHeight, Key::OutputHeight].map(|key| record.size(key));
        Ok(Self { input_dim, output_dim, activation: record.activation, bias: place.bias(false) })
    }

    fn to_record(&self, record: &mut Record, _: &LayerPath) -> Result<()> {
        record.set_sizes(&[(Key::InputHeight, self.input_dim), (Key::OutputHeight, self.output_dim)]);
        record.activation = self.activation;
        Ok(())
    }

    fn array_roles(record: &Record) -> std::result::Result<Vec<RoleShape>, PackingError> {
        Ok(vec![role(Role::Weight, &[record.size(Key::OutputHeight), record.size(Key::InputHeight)])])
    }

    fn shape_beside(record: &Record, _: Role, _: usize) -> std::result::Result<Vec<usize>, PackingError> {
        Ok(vec![record.size(Key::OutputHeight)])
    }
}
