//! Gated feed-forward blocks.

use super::{Place, Recorded, role};
use crate::error::{PackingError, Result};
use crate::format::path::LayerPath;
use crate::format::record::{Key, Record};
use crate::layers::{Activation, RoleShape, SwiGluSpec};
use crate::role::Role;

impl Recorded for SwiGluSpec {
    const BIAS: Role = Role::GateBias;

    fn of_record(record: &Record, place: &Place<'_>) -> Result<Self> {
        let [input_dim, intermediate_dim] = [Key::InputHeight, Key::OutputHeight].map(|key| record.size(key));
        Ok(Self { input_dim, intermediate_dim, bias: place.bias(true) })
    }

    fn to_record(&self, record: &mut Record, _: &LayerPath) -> Result<()> {
        record.set_sizes(&[(Key::InputHeight, self.input_dim), (Key::OutputHeight, self.intermediate_dim)]);
        record.activation = Activation::Silu;
        Ok(())
    }

    fn array_roles(record: &Record) -> std::result::Result<Vec<RoleShape>, PackingError> {
        let [input, output] = [Key::InputHeight, Key::OutputHeight].map(|key| record.size(key));
        Ok(vec![
            role(Role::GateWeight, &[output, input]),
            role(Role::UpWeight, &[output, input]),
            role(Role::DownWeight, &[input, output]),
            role(Role::GateBias, &[output]),
            role(Role::UpBias, &[output]),
            role(Role::DownBias, &[input]),
        ])
    }
}
