//! Table look-ups.

use super::{Place, Recorded, role};
use crate::error::{PackingError, Result};
use crate::format::path::LayerPath;
use crate::format::record::{Key, Record};
use crate::layers::{EmbeddingSpec, RoleShape};
use crate::role::Role;

impl Recorded for EmbeddingSpec {
    fn has_keys(&self) -> bool {
        self.activation.original().is_some()
    }

    fn of_record(record: &Record, _: &Place<'_>) -> Result<Self> {
        let [vocab_size, embedding_dim] = [Key::VocabSize, Key::EmbeddingDim].map(|key| record.size(key));
        Ok(Self { vocab_size, embedding_dim, activation: record.activation })
    }

    fn to_record(&self, record: &mut Record, _: &LayerPath) -> Result<()> {
        record.set_sizes(&[
            (Key::InputHeight, self.vocab_size),
            (Key::OutputHeight, self.embedding_dim),
            (Key::VocabSize, self.vocab_size),
            (Key::EmbeddingDim, self.embedding_dim),
        ]);
        record.activation = self.activation;
        Ok(())
    }

    fn array_roles(record: &Record) -> std::result::Result<Vec<RoleShape>, PackingError> {
        Ok(vec![role(Role::Weight, &[record.size(Key::VocabSize), record.size(Key::EmbeddingDim)])])
    }
}
