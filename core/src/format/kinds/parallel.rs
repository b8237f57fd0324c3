//! Branches on one input.

use super::{Place, Recorded, child, children, records};
use crate::error::Result;
use crate::format::path::LayerPath;
use crate::format::path::Step;
use crate::format::record::{Key, Record, Value};
use crate::layers::{Combine, ParallelSpec};

impl Recorded for ParallelSpec {
    fn of_record(record: &Record, place: &Place<'_>) -> Result<Self> {
        let gate = child(record, Step::Gate, place)?;
        let branches = children(record, Key::ParallelBranches, place)?;
        let mode = record.text(Key::CombineMode);
        let combine = match mode.to_ascii_lowercase().as_str() {
            "" | "concat" => Combine::Concat,
            "grid_scatter" => Combine::GridScatter,
            "add" => Combine::Add,
            "avg" => Combine::Avg,
            "filter" => Combine::Filter,
            _ => return Err(place.error(format!("unknown combine_mode {mode:?}"))),
        };
        Ok(Self { branches, combine, gate })
    }

    fn to_record(&self, record: &mut Record, path: &LayerPath) -> Result<()> {
        record.set(Key::ParallelBranches, records(&self.branches, path, Step::Branch)?);
        let mode = match self.combine {
            Combine::Concat => "concat",
            Combine::GridScatter => "grid_scatter",
            Combine::Add => "add",
            Combine::Avg => "avg",
            Combine::Filter => "filter",
        };
        record.set_text(Key::CombineMode, mode);
        if let Some(gate) = &self.gate {
            let gate = Record::of_spec(gate, &path.inner(Step::Gate))?;
            record.set(Key::FilterGate, Value::Layer(Box::new(gate)));
        }
        Ok(())
    }
}
