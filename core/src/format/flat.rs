//! The array that version 1 and JSON have for a layer, from its record.

use super::record::{Key, Record};
use crate::layers::packing::{Layout, blocks};
use crate::layers::{LayerKind, RoleShape};
use crate::role::Role;

impl Layout {
    /// The array that version 1 and JSON have for a layer: the original's weight count by kind,
    /// biases always among them.
    pub(super) fn of_record(record: &Record) -> Result<Self, String> {
        let size = |key: Key| record.size(key);
        let (input, output) = (size(Key::InputHeight), size(Key::OutputHeight));
        let role = |role: Role, shape: &[usize]| RoleShape { role, shape: shape.to_vec() };
        let conv = |axes: usize| {
            let kernel = size(Key::KernelSize).max(1);
            let mut shape = vec![size(Key::Filters), size(Key::InputChannels)];
            shape.extend(vec![kernel; axes]);
            vec![RoleShape { role: Role::Weight, shape }]
        };
        let roles = match record.kind {
            LayerKind::Dense => vec![role(Role::Weight, &[output, input])],
            LayerKind::RmsNorm => vec![role(Role::Gamma, &[input])],
            LayerKind::LayerNorm => vec![role(Role::Gamma, &[input]), role(Role::Beta, &[input])],
            LayerKind::Mha => {
                let d = size(Key::DModel);
                let (q, kv) = Self::attention(record)?;
                vec![
                    role(Role::QWeight, &[q, d]),
                    role(Role::KWeight, &[kv, d]),
                    role(Role::VWeight, &[kv, d]),
                    role(Role::OWeight, &[d, q]),
                    role(Role::QBias, &[q]),
                    role(Role::KBias, &[kv]),
                    role(Role::VBias, &[kv]),
                    role(Role::OBias, &[d]),
                ]
            }
            LayerKind::Rnn | LayerKind::Lstm => {
                let rows = output.checked_mul(blocks(record.kind)).ok_or("its size overflows")?;
                vec![
                    role(Role::InputWeight, &[rows, input]),
                    role(Role::RecurrentWeight, &[rows, output]),
                    role(Role::Bias, &[rows]),
                ]
            }
            LayerKind::SwiGlu => vec![
                role(Role::GateWeight, &[output, input]),
                role(Role::UpWeight, &[output, input]),
                role(Role::DownWeight, &[input, output]),
                role(Role::GateBias, &[output]),
                role(Role::UpBias, &[output]),
                role(Role::DownBias, &[input]),
            ],
            LayerKind::Cnn1 | LayerKind::ConvTransposed1 => conv(1),
            LayerKind::Cnn2 | LayerKind::ConvTransposed2 => conv(2),
            LayerKind::Cnn3 | LayerKind::ConvTransposed3 => conv(3),
            LayerKind::Embedding => vec![role(Role::Weight, &[size(Key::VocabSize), size(Key::EmbeddingDim)])],
            LayerKind::KMeans => vec![role(Role::Centers, &[size(Key::NumClusters), input])],
            LayerKind::Softmax
            | LayerKind::Parallel
            | LayerKind::Sequential
            | LayerKind::Residual
            | LayerKind::Metacognition => Vec::new(),
        };
        Self::new(roles, record.kind)
    }

    /// Query and key/value widths of an attention record.
    pub(super) fn attention(record: &Record) -> Result<(usize, usize), String> {
        let d = record.size(Key::DModel);
        let kv = record.size(Key::NumKvHeads).checked_mul(record.size(Key::HeadDim)).ok_or("its size overflows")?;
        let or = |size: usize| if size == 0 { d } else { size };
        Ok((or(record.size(Key::QueryDim)), or(kv)))
    }
}
