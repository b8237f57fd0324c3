//! Softmax in its variants.

use super::{Place, Recorded, or};
use crate::error::Result;
use crate::format::codes::{VARIANTS, softmax_name};
use crate::format::path::LayerPath;
use crate::format::record::{Key, Record, Value};
use crate::layers::{SoftmaxOver, SoftmaxSpec, SoftmaxVariant};

impl Recorded for SoftmaxSpec {
    fn has_keys(&self) -> bool {
        self.variant != SoftmaxVariant::Log
    }

    fn of_record(record: &Record, place: &Place<'_>) -> Result<Self> {
        let name = record.text(Key::SoftmaxType);
        let variant = VARIANTS.iter().find(|variant| softmax_name(**variant) == name);
        let variant = variant.ok_or_else(|| place.error(format!("no softmax {name:?}")))?;
        let seed = match record.get(Key::Seed) {
            Some(Value::Ints(seed)) => seed.first().copied().unwrap_or(0),
            _ => 0,
        };
        Ok(Self {
            variant: *variant,
            over: if record.has(Key::SoftmaxOverRows) { SoftmaxOver::Row } else { SoftmaxOver::Tensor },
            temperature: or(record.float(Key::Temperature), 1.0),
            rows: record.size(Key::SoftmaxRows),
            cols: record.size(Key::SoftmaxCols),
            levels: match record.get(Key::HierarchyLevels) {
                Some(Value::Ints(levels)) => levels.iter().map(|&v| usize::try_from(v).unwrap_or(0)).collect(),
                _ => Vec::new(),
            },
            mask: match record.get(Key::Mask) {
                Some(Value::Bools(mask)) => mask.clone(),
                _ => Vec::new(),
            },
            alpha: or(record.float(Key::EntmaxAlpha), 1.5),
            seed,
        })
    }

    fn to_record(&self, record: &mut Record, _: &LayerPath) -> Result<()> {
        record.set_text(Key::SoftmaxType, softmax_name(self.variant));
        record.set_float(Key::Temperature, self.temperature);
        record.set_size(Key::SoftmaxRows, self.rows);
        record.set_size(Key::SoftmaxCols, self.cols);
        record.set_float(Key::EntmaxAlpha, self.alpha);
        record.set_flag(Key::SoftmaxOverRows, self.over == SoftmaxOver::Row);
        if self.seed != 0 {
            record.set(Key::Seed, Value::Ints(vec![self.seed]));
        }
        if !self.mask.is_empty() {
            record.set(Key::Mask, Value::Bools(self.mask.clone()));
        }
        if !self.levels.is_empty() {
            record.set(Key::HierarchyLevels, Value::Ints(self.levels.iter().map(|&v| v as u64).collect()));
        }
        Ok(())
    }
}
