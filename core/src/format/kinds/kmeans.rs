//! Soft assignment to cluster centres.

use super::{Place, Recorded, or, role};
use crate::error::{PackingError, Result};
use crate::format::path::LayerPath;
use crate::format::record::{Key, Record};
use crate::layers::{KMeansOutput, KMeansSpec, RoleShape};
use crate::role::Role;

impl Recorded for KMeansSpec {
    fn has_keys(&self) -> bool {
        self.activation.original().is_some()
    }

    fn of_record(record: &Record, place: &Place<'_>) -> Result<Self> {
        let mode = record.text(Key::OutputMode);
        let output = match mode.to_ascii_lowercase().as_str() {
            "" | "probabilities" => KMeansOutput::Probabilities,
            "features" => KMeansOutput::Features,
            _ => return Err(place.error(format!("unknown output_mode {mode:?}; expected probabilities or features"))),
        };
        Ok(Self {
            num_clusters: record.size(Key::NumClusters),
            input_dim: record.size(Key::InputHeight),
            temperature: or(record.float(Key::KmeansTemperature), 1.0),
            output,
            activation: record.activation,
        })
    }

    fn to_record(&self, record: &mut Record, _: &LayerPath) -> Result<()> {
        record.set_sizes(&[(Key::InputHeight, self.input_dim), (Key::NumClusters, self.num_clusters)]);
        record.activation = self.activation;
        record.set_float(Key::KmeansTemperature, self.temperature);
        if self.output == KMeansOutput::Features {
            record.set_text(Key::OutputMode, "features");
        }
        Ok(())
    }

    fn array_roles(record: &Record) -> std::result::Result<Vec<RoleShape>, PackingError> {
        Ok(vec![role(Role::Centers, &[record.size(Key::NumClusters), record.size(Key::InputHeight)])])
    }
}
