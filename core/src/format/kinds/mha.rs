//! Multi-head attention. The norms of queries and keys stand beside the array.

use super::{Place, Recorded, or, role};
use crate::error::{PackingError, Result};
use crate::format::path::LayerPath;
use crate::format::record::{Key, Record};
use crate::layers::{Activation, MhaSpec, RoleShape};
use crate::role::Role;

impl Record {
    /// Features of an attention head.
    pub(in crate::format) fn head_width(&self) -> usize {
        match self.size(Key::HeadDim) {
            0 => self.size(Key::DModel).checked_div(self.size(Key::NumHeads)).unwrap_or(0),
            width => width,
        }
    }

    /// Query and key/value widths of an attention layer.
    pub(in crate::format) fn attention_widths(&self) -> std::result::Result<(usize, usize), PackingError> {
        let d = self.size(Key::DModel);
        let [heads, width] = [Key::NumKvHeads, Key::HeadDim].map(|key| self.size(key));
        let kv = heads.checked_mul(width).ok_or_else(|| PackingError::Overflow { parts: vec![vec![heads, width]] })?;
        let or = |size: usize| if size == 0 { d } else { size };
        Ok((or(self.size(Key::QueryDim)), or(kv)))
    }
}

impl Recorded for MhaSpec {
    const BESIDE: &[Role] = &[Role::QNorm, Role::KNorm];
    const BIAS: Role = Role::QBias;
    const HAS_SEQUENCES: bool = true;

    fn of_record(record: &Record, place: &Place<'_>) -> Result<Self> {
        let [model, heads, query] = [Key::DModel, Key::NumHeads, Key::QueryDim].map(|key| record.size(key));
        let head = record.head_width();
        if query != 0 && heads.checked_mul(head) != Some(query) {
            return Err(place.error(format!("query_dim {query} is not num_heads {heads} times head_dim {head}")));
        }
        let kv = record.size(Key::NumKvHeads);
        Ok(Self {
            d_model: model,
            num_heads: heads,
            num_kv_heads: Some(if kv == 0 { heads } else { kv }),
            head_dim: Some(head),
            // The original takes a length of 1 for none.
            seq_length: Some(record.size(Key::SeqLength)).filter(|&length| length > 1),
            causal: !record.has(Key::Bidirectional),
            rope: !record.has(Key::NoRope),
            rope_base: or(record.float(Key::RopeFreqBase), 10_000.0),
            qk_norm: place.has().qk_norm,
            eps: record.eps(1e-6),
            window: Some(record.size(Key::Window)).filter(|_| record.has(Key::Window)),
            bias: place.bias(true),
        })
    }

    fn to_record(&self, record: &mut Record, _: &LayerPath) -> Result<()> {
        let head = self.head_dim.unwrap_or(self.d_model / self.num_heads.max(1));
        let query = self.num_heads.saturating_mul(head);
        record.set_sizes(&[
            (Key::NumHeads, self.num_heads),
            (Key::NumKvHeads, self.num_kv_heads.unwrap_or(self.num_heads)),
            (Key::HeadDim, head),
            (Key::QueryDim, if query == self.d_model { 0 } else { query }),
            (Key::DModel, self.d_model),
            (Key::SeqLength, self.seq_length.unwrap_or(0)),
            (Key::Window, self.window.unwrap_or(0)),
        ]);
        if self.window.is_none() {
            record.remove(Key::Window);
        }
        record.activation = Activation::Relu;
        record.set_float(Key::RopeFreqBase, if self.rope_base == 10_000.0 { 0.0 } else { self.rope_base });
        record.set_eps(self.eps, 1e-6);
        record.set_flag(Key::Bidirectional, !self.causal);
        record.set_flag(Key::NoRope, !self.rope);
        Ok(())
    }

    fn array_roles(record: &Record) -> std::result::Result<Vec<RoleShape>, PackingError> {
        let d = record.size(Key::DModel);
        let (q, kv) = record.attention_widths()?;
        Ok(vec![
            role(Role::QWeight, &[q, d]),
            role(Role::KWeight, &[kv, d]),
            role(Role::VWeight, &[kv, d]),
            role(Role::OWeight, &[d, q]),
            role(Role::QBias, &[q]),
            role(Role::KBias, &[kv]),
            role(Role::VBias, &[kv]),
            role(Role::OBias, &[d]),
        ])
    }

    fn shape_beside(record: &Record, role: Role, gains: usize) -> std::result::Result<Vec<usize>, PackingError> {
        let (q, kv) = record.attention_widths()?;
        let (width, whole) = (record.head_width(), if role == Role::QNorm { q } else { kv });
        match gains {
            n if n == width => Ok(vec![width]),
            n if n == whole => Ok(vec![whole]),
            found => Err(PackingError::Gains { found, head: width, all: whole }),
        }
    }
}
