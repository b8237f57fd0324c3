//! Branches on one input.

use super::{Place, Recorded, child, children, records};
use crate::error::Result;
use crate::format::path::LayerPath;
use crate::format::path::Step;
use crate::format::record::{Key, Record, Value};
use crate::layers::{Combine, ParallelSpec};

/// An axis as a number that is not negative: twice its number, and one more where it is counted from the end.
fn axis_code(axis: i64) -> i64 {
    2 * axis.abs() + i64::from(axis < 0)
}

fn axis(code: i64) -> i64 {
    if code % 2 == 1 { -(code / 2) } else { code / 2 }
}

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
        let combine = match (record.has(Key::CombineProduct), combine) {
            (false, combine) => combine,
            (true, Combine::Concat) => Combine::Product,
            (true, _) => return Err(place.error("combine_product beside another combine_mode")),
        };
        let axis = record.get(Key::CombineAxis).map(|_| axis(record.raw(Key::CombineAxis)));
        Ok(Self { branches, combine, axis, gate })
    }

    fn to_record(&self, record: &mut Record, path: &LayerPath) -> Result<()> {
        record.set(Key::ParallelBranches, records(&self.branches, path, Step::Branch)?);
        let mode = match self.combine {
            Combine::Concat => "concat",
            Combine::GridScatter => "grid_scatter",
            Combine::Add => "add",
            Combine::Avg => "avg",
            Combine::Filter => "filter",
            // Version 1 has no mode that multiplies.
            Combine::Product => "",
        };
        record.set_text(Key::CombineMode, mode);
        record.set_flag(Key::CombineProduct, self.combine == Combine::Product);
        if let Some(axis) = self.axis {
            record.set(Key::CombineAxis, Value::Int(axis_code(axis)));
        }
        if let Some(gate) = &self.gate {
            let gate = Record::of_spec(gate, &path.inner(Step::Gate))?;
            record.set(Key::FilterGate, Value::Layer(Box::new(gate)));
        }
        Ok(())
    }
}
