//! Elman layers and LSTMs.

use super::{Place, Recorded, role};
use crate::error::{PackingError, Result};
use crate::format::path::LayerPath;
use crate::format::record::{Key, Record};
use crate::layers::{Activation, LstmSpec, RnnSpec, RoleShape};
use crate::role::Role;

fn array_roles(record: &Record, gates: usize) -> std::result::Result<Vec<RoleShape>, PackingError> {
    let [input, output] = [Key::InputHeight, Key::OutputHeight].map(|key| record.size(key));
    let rows = output.checked_mul(gates);
    let rows = rows.ok_or_else(|| PackingError::Overflow { parts: vec![vec![output, gates]] })?;
    Ok(vec![
        role(Role::InputWeight, &[rows, input]),
        role(Role::RecurrentWeight, &[rows, output]),
        role(Role::Bias, &[rows]),
    ])
}

/// Features read, features written, steps.
fn sizes(record: &Record) -> [usize; 3] {
    let [input, hidden, steps] = [Key::InputHeight, Key::OutputHeight, Key::SeqLength].map(|key| record.size(key));
    [input, hidden, steps.max(1)]
}

fn set_sizes(record: &mut Record, [input, hidden, steps]: [usize; 3]) {
    record.set_sizes(&[(Key::InputHeight, input), (Key::OutputHeight, hidden), (Key::SeqLength, steps)]);
    record.activation = Activation::Relu;
}

impl Recorded for RnnSpec {
    const HAS_SEQUENCES: bool = true;

    fn has_keys(&self) -> bool {
        self.activation == Activation::Tanh
    }

    fn of_record(record: &Record, place: &Place<'_>) -> Result<Self> {
        let [input_size, hidden_size, seq_length] = sizes(record);
        Ok(Self { input_size, hidden_size, seq_length, activation: Activation::Tanh, bias: place.bias(true) })
    }

    fn to_record(&self, record: &mut Record, _: &LayerPath) -> Result<()> {
        set_sizes(record, [self.input_size, self.hidden_size, self.seq_length]);
        Ok(())
    }

    fn array_roles(record: &Record) -> std::result::Result<Vec<RoleShape>, PackingError> {
        array_roles(record, 1)
    }
}

impl Recorded for LstmSpec {
    const HAS_SEQUENCES: bool = true;

    fn of_record(record: &Record, place: &Place<'_>) -> Result<Self> {
        let [input_size, hidden_size, seq_length] = sizes(record);
        Ok(Self { input_size, hidden_size, seq_length, bias: place.bias(true) })
    }

    fn to_record(&self, record: &mut Record, _: &LayerPath) -> Result<()> {
        set_sizes(record, [self.input_size, self.hidden_size, self.seq_length]);
        Ok(())
    }

    fn array_roles(record: &Record) -> std::result::Result<Vec<RoleShape>, PackingError> {
        array_roles(record, 4)
    }
}
