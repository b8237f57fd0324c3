//! Weights on a tape: where codes are bound, in which pieces, and how kernels decode them.

use std::ops::Range;

use bytes::Bytes;

use super::kernel::{self, DecodeRule};
use super::tape::{NONE, Segment, Tape};
use crate::dtype::{Dtype, Numerics, Rule, Sign};
use crate::error::Problem;
use crate::store::{Scales, WeightStore};

/// Some outputs of a store, ready to be used by a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Which outputs.
    pub(crate) rows: Range<usize>,
    pub(super) rule: DecodeRule,
    pub(super) segment: usize,
    pub(super) args: [u32; 6],
}

/// How a kernel sums over weights of at most eight bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sums {
    /// As the matrix kernel does: exactly, the scale last.
    Exact,
    /// Weight by weight, each rounded with its scale.
    Rounded,
}

fn decode_rule(dtype: Dtype, numerics: Numerics, sums: Sums) -> (DecodeRule, Sign) {
    match (dtype.rule(numerics), dtype.bits()) {
        (Rule::Ieee, 64) => (DecodeRule::Double, Sign::Signed),
        (Rule::Ieee, 32) => (DecodeRule::Single, Sign::Signed),
        (Rule::Ieee, _) => (DecodeRule::Half, Sign::Signed),
        (Rule::Bfloat, _) => (DecodeRule::Bfloat, Sign::Signed),
        (Rule::Integer(sign), 64) => (DecodeRule::Longer, sign),
        (Rule::Integer(sign), 32) => (DecodeRule::Long, sign),
        (Rule::Integer(sign), _) => (DecodeRule::Short, sign),
        (Rule::WideInteger(sign), 64) => (DecodeRule::LongerFull, sign),
        (Rule::WideInteger(sign), _) => (DecodeRule::LongFull, sign),
        (Rule::Narrow, _) if sums == Sums::Exact => {
            // Unsigned types shift their range, and binary has a rule of its own.
            let unsigned = matches!(dtype, Dtype::Uint8 | Dtype::Uint4 | Dtype::Uint2 | Dtype::Binary);
            (DecodeRule::Narrow, if unsigned { Sign::Unsigned } else { Sign::Signed })
        }
        (Rule::Narrow | Rule::Table, _) => (DecodeRule::Table, Sign::Signed),
    }
}

impl Tape<'_> {
    /// The weights of a gain, shift or bias as `real`; [`NONE`] when there is none.
    pub(crate) fn vector(&mut self, store: Option<&WeightStore>) -> Result<u32, Problem> {
        let Some(store) = store else { return Ok(NONE) };
        let piece = self.whole(store, Sums::Rounded)?;
        let at = self.reserve(2 * store.len());
        self.weighted(kernel::DECODE, store.len(), [at], &piece);
        Ok(at)
    }

    /// A store in one piece.
    pub(crate) fn whole(&mut self, store: &WeightStore, sums: Sums) -> Result<Piece, Problem> {
        let mut pieces = self.pieces(store, sums)?;
        match (pieces.pop(), pieces.is_empty()) {
            (Some(piece), true) => Ok(piece),
            _ => Err(Problem::NotOnDevice("weights that are used at once do not fit one binding".into())),
        }
    }

    /// A store cut along its first axis into pieces that fit a binding.
    pub(crate) fn pieces(&mut self, store: &WeightStore, sums: Sums) -> Result<Vec<Piece>, Problem> {
        let ((outs, depth), bits) = (store.extents(), store.dtype().bits());
        let all = outs.saturating_mul(depth).saturating_mul(bits).div_ceil(32);
        // Thirty-two outputs are whole words in every type.
        let (step, words) = if all <= self.limits.binding { (outs, all) } else { (32, depth.saturating_mul(bits)) };
        if words > self.limits.binding {
            let what = format!(
                "{step} outputs of a matrix take {words} words, more than the {} of a binding",
                self.limits.binding
            );
            return Err(Problem::NotOnDevice(what));
        }
        let step = if step == outs { outs.max(1) } else { self.limits.binding / words * step };
        let mut pieces = Vec::new();
        for first in (0..outs.max(1)).step_by(step) {
            let rows = first..outs.min(first + step);
            let bytes = (rows.start * depth * bits).div_ceil(8)..(rows.end * depth * bits).div_ceil(8);
            let (segment, at) = self.place(store.shared_bytes().slice(bytes));
            pieces.push(self.piece(store, sums, rows, segment, at));
        }
        Ok(pieces)
    }

    /// Puts codes where they are bound, once.
    fn place(&mut self, bytes: Bytes) -> (usize, usize) {
        let key = (bytes.as_ptr().addr(), bytes.len());
        if let Some(&place) = self.placed.get(&key) {
            return place;
        }
        let words = bytes.len().div_ceil(16) * 4;
        let fits = |segment: &Segment| segment.words + words <= self.limits.binding;
        if self.segments.last().is_none_or(|last| !fits(last)) {
            self.segments.push(Segment::default());
        }
        let index = self.segments.len() - 1;
        let segment = &mut self.segments[index];
        let at = segment.words;
        segment.parts.push((at, bytes));
        segment.words += words;
        self.placed.insert(key, (index, at));
        (index, at)
    }

    fn piece(&mut self, store: &WeightStore, sums: Sums, rows: Range<usize>, segment: usize, at: usize) -> Piece {
        let (dtype, numerics, Scales::Tensor(affine)) = (store.dtype(), store.numerics(), store.scales());
        let (rule, sign) = decode_rule(dtype, numerics, sums);
        let bits = dtype.bits() as u32;
        let table: Vec<u32> = match rule {
            DecodeRule::Table => dtype.table(numerics, affine).into_iter().map(f32::to_bits).collect(),
            _ => Vec::new(),
        };
        let table = if table.is_empty() { NONE } else { self.constant(table) };
        let layout = bits | (32 / bits.min(32)).trailing_zeros() << 8 | u32::from(sign == Sign::Signed) << 16;
        let zero = affine.zero_point;
        let args = [at as u32, layout, affine.scale.to_bits(), zero as u32, (zero >> 32) as u32, table];
        Piece { rows, rule, segment, args }
    }
}
