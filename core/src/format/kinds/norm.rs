//! Root-mean-square and layer normalisation.

use super::{Place, Recorded, role};
use crate::error::{PackingError, Result};
use crate::format::path::LayerPath;
use crate::format::record::{Key, Record};
use crate::layers::{LayerNormSpec, RmsNormSpec, RoleShape};
use crate::role::Role;

fn dim(record: &Record) -> usize {
    match record.size(Key::OutputHeight) {
        0 => record.size(Key::InputHeight),
        dim => dim,
    }
}

fn set_dim(record: &mut Record, dim: usize) {
    record.set_sizes(&[(Key::InputHeight, dim), (Key::OutputHeight, dim)]);
}

impl Recorded for RmsNormSpec {
    fn has_keys(&self) -> bool {
        !self.unit_offset
    }

    fn of_record(record: &Record, _: &Place<'_>) -> Result<Self> {
        Ok(Self { dim: dim(record), eps: record.eps(1e-6), unit_offset: false })
    }

    fn to_record(&self, record: &mut Record, _: &LayerPath) -> Result<()> {
        set_dim(record, self.dim);
        record.set_eps(self.eps, 1e-6);
        Ok(())
    }

    fn array_roles(record: &Record) -> std::result::Result<Vec<RoleShape>, PackingError> {
        Ok(vec![role(Role::Gamma, &[record.size(Key::InputHeight)])])
    }
}

impl Recorded for LayerNormSpec {
    const BIAS: Role = Role::Beta;

    fn of_record(record: &Record, place: &Place<'_>) -> Result<Self> {
        Ok(Self { dim: dim(record), eps: record.eps(1e-5), beta: place.bias(true) })
    }

    fn to_record(&self, record: &mut Record, _: &LayerPath) -> Result<()> {
        set_dim(record, self.dim);
        record.set_eps(self.eps, 1e-5);
        Ok(())
    }

    fn array_roles(record: &Record) -> std::result::Result<Vec<RoleShape>, PackingError> {
        let dim = record.size(Key::InputHeight);
        Ok(vec![role(Role::Gamma, &[dim]), role(Role::Beta, &[dim])])
    }
}
