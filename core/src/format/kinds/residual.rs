//! Residual layers.

use super::{Place, Recorded};
use crate::error::Result;
use crate::format::path::LayerPath;
use crate::format::record::{Key, Record};
use crate::layers::ResidualSpec;

impl Recorded for ResidualSpec {
    fn of_record(record: &Record, _: &Place<'_>) -> Result<Self> {
        Ok(Self { dim: Some(record.size(Key::InputHeight)).filter(|&dim| dim > 0) })
    }

    fn to_record(&self, record: &mut Record, _: &LayerPath) -> Result<()> {
        let dim = self.dim.unwrap_or(0);
        record.set_sizes(&[(Key::InputHeight, dim), (Key::OutputHeight, dim)]);
        Ok(())
    }
}
