//! Steps in order.

use super::{Place, Recorded, children, records};
use crate::error::Result;
use crate::format::path::LayerPath;
use crate::format::path::Step;
use crate::format::record::{Key, Record};
use crate::layers::SequentialSpec;

impl Recorded for SequentialSpec {
    fn of_record(record: &Record, place: &Place<'_>) -> Result<Self> {
        Ok(Self { steps: children(record, Key::SequentialLayers, place)? })
    }

    fn to_record(&self, record: &mut Record, path: &LayerPath) -> Result<()> {
        record.set(Key::SequentialLayers, records(&self.steps, path, Step::Sequential)?);
        Ok(())
    }
}
