//! A network as a list of dispatches: where each array lies in one arena of words, what is uploaded
//! into it, and the parameters of every kernel. Recording touches no device.
//!
//! A record of parameters is [`RECORD`] words: the first word of the cell's arena and of its codes,
//! the number of items, then the kernel's arguments. All addresses are relative to the cell, so
//! that cells of many networks share one arena. Guard words stand around every array.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::kernel::{self, DecodeRule, Kernel};
use super::weights::{Piece, Sums};
use super::{GpuState, Precision};
use crate::error::Problem;
use crate::store::WeightStore;
use crate::tensor::{Tensor, element_count};

/// Words of a record, which is also the alignment of dynamic offsets: 256 bytes.
pub(super) const RECORD: usize = 64;
/// Guard words between two arrays.
pub(super) const GUARD: usize = 4;
/// An address that is not there.
pub(crate) const NONE: u32 = u32::MAX;
/// The activation that asks [`kernel::TILES`] for sums in `real`.
const WIDE: u32 = 0xff;

/// From this depth on a lone row goes through [`kernel::GEMV`] or [`kernel::GEMV_NARROW`].
const LONG: usize = 1024;
/// The longest row whose products of digits and codes fit 32 bits.
const LONGEST: usize = 1 << 16;
/// From this many sums on rows go through [`kernel::GEMM`].
const MANY: usize = 1 << 18;

/// What a device allows, as far as recording needs it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Words that one binding can show.
    pub binding: usize,
    /// The arithmetic of the kernels.
    pub precision: Precision,
    /// Whether kernels may ask what other lanes of a subgroup hold.
    pub subgroups: bool,
    /// Whether workgroups may be large.
    pub large_groups: bool,
    /// Turns of loops that an invocation may take: llvmpipe ends loops after 65,535, without a word.
    pub turns: usize,
}

/// An f32 array in the arena.
#[derive(Clone, Debug)]
pub(crate) struct GpuArray {
    pub(crate) at: u32,
    pub(crate) shape: Vec<usize>,
}

impl GpuArray {
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The same elements in another shape.
    pub(crate) fn reshaped(&self, shape: Vec<usize>) -> Self {
        Self { at: self.at, shape }
    }
}

/// One dispatch of one cell.
#[derive(Clone, Debug)]
pub(super) struct Op {
    pub(super) kernel: &'static Kernel,
    pub(super) rule: DecodeRule,
    pub(super) items: u32,
    pub(super) segment: usize,
    pub(super) args: Vec<u32>,
}

/// Codes that are bound together.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    pub(super) words: usize,
    pub(super) parts: Vec<(usize, Bytes)>,
}

/// Keys and values that survive the call: where they lie, and what is known of them.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) place: (usize, usize),
    pub(super) shape: CacheShape,
    /// First word of keys and of values of the first sample, and words from sample to sample.
    pub(super) from: [u32; 2],
    pub(super) stride: usize,
}

/// What a cache on the device holds: `[batch, positions, width]` keys, then as many values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheShape {
    pub(crate) batch: usize,
    pub(crate) positions: usize,
    pub(crate) width: usize,
    /// Positions that were seen, those no longer kept included.
    pub(crate) seen: usize,
}

/// Keys and values of earlier calls, copied in before the first dispatch.
#[derive(Clone, Debug)]
pub(super) struct Restored {
    pub(super) place: (usize, usize),
    pub(super) shape: CacheShape,
    pub(super) to: [u32; 2],
    /// Words from sample to sample.
    pub(super) stride: usize,
}

/// The dispatches of one run of a network.
#[derive(Debug)]
pub(crate) struct Tape<'n> {
    pub(crate) state: &'n GpuState,
    pub(super) limits: Limits,
    pub(super) words: usize,
    pub(super) uploads: Vec<(u32, Vec<u32>)>,
    pub(super) segments: Vec<Segment>,
    pub(super) ops: Vec<Op>,
    pub(super) guards: Vec<u32>,
    pub(super) kept: Vec<Kept>,
    pub(super) restored: Vec<Restored>,
    /// How often each layer has run so far.
    pub(crate) visits: BTreeMap<usize, usize>,
    pub(super) output: GpuArray,
    /// Where codes that were placed already lie: by address and length.
    pub(super) placed: BTreeMap<(usize, usize), (usize, usize)>,
}

impl<'n> Tape<'n> {
    /// An empty tape for a run on `inputs`, which are uploaded.
    pub(crate) fn new(inputs: &[Tensor], state: &'n GpuState, limits: Limits) -> (Self, Vec<GpuArray>) {
        let mut tape = Self {
            state,
            limits,
            words: 0,
            uploads: Vec::new(),
            segments: Vec::new(),
            ops: Vec::new(),
            guards: Vec::new(),
            kept: Vec::new(),
            restored: Vec::new(),
            visits: BTreeMap::new(),
            output: GpuArray { at: 0, shape: Vec::new() },
            placed: BTreeMap::new(),
        };
        let upload = |x: &Tensor| {
            let words = x.data().iter().map(|v| v.to_bits()).collect();
            GpuArray { at: tape.constant(words), shape: x.shape().to_vec() }
        };
        let given = inputs.iter().map(upload).collect();
        (tape, given)
    }

    /// The tape as it is executed, with the array that is read back.
    pub(crate) fn ending_in(mut self, output: GpuArray) -> Self {
        self.output = output;
        self.guard();
        self
    }

    /// Refuses more arrays or codes than a binding can show.
    pub(crate) fn check_size(&self) -> Result<(), Problem> {
        self.room(0)
    }

    /// Refuses arrays or codes that take so many words more than a binding can show.
    pub(crate) fn room(&self, more: usize) -> Result<(), Problem> {
        let words = self.words.saturating_add(more);
        match words.max(self.segments.iter().map(|s| s.words).max().unwrap_or(0)) <= self.limits.binding {
            true => Ok(()),
            false => Err(Problem::NotOnDevice(format!(
                "the arrays up to here take {words} words, more than the {} of a binding; run fewer samples at a time",
                self.limits.binding
            ))),
        }
    }

    /// Refuses invocations that would take more turns of loops than the device allows.
    pub(crate) fn within(&self, turns: usize) -> Result<(), Problem> {
        match turns <= self.limits.turns {
            true => Ok(()),
            false => Err(Problem::NotOnDevice(format!(
                "an invocation would take about {turns} turns of loops; this driver ends them after {}",
                self.limits.turns
            ))),
        }
    }

    fn guard(&mut self) {
        // Kernels load four words at a time.
        self.words = self.words.next_multiple_of(GUARD);
        self.guards.push(self.words as u32);
        self.words += GUARD;
    }

    /// Room for `words` words, guarded.
    pub(crate) fn reserve(&mut self, words: usize) -> u32 {
        self.guard();
        let at = self.words;
        self.words = at.saturating_add(words);
        // Beyond 2^32 words nothing is dispatched: `layer` refuses arenas far smaller.
        at as u32
    }

    /// Room for an f32 array.
    pub(crate) fn array(&mut self, shape: Vec<usize>) -> GpuArray {
        let words = element_count(&shape).unwrap_or(usize::MAX >> 8);
        GpuArray { at: self.reserve(words), shape }
    }

    /// Words that are uploaded.
    pub(crate) fn constant(&mut self, words: Vec<u32>) -> u32 {
        let at = self.reserve(words.len());
        self.uploads.push((at, words));
        at
    }

    /// A number as the kernels' `real`, two words.
    pub(crate) fn real(&self, v: f64) -> [u32; 2] {
        match self.limits.precision {
            Precision::Double => [v.to_bits() as u32, (v.to_bits() >> 32) as u32],
            Precision::Single => [(v as f32).to_bits(), 0],
        }
    }

    /// Uploaded numbers as `real`.
    pub(crate) fn reals(&mut self, values: &[f64]) -> u32 {
        let words = values.iter().flat_map(|&v| self.real(v)).collect();
        self.constant(words)
    }

    /// A dispatch of a kernel without weights.
    pub(crate) fn op(&mut self, kernel: &'static Kernel, items: usize, args: impl Into<Vec<u32>>) {
        self.push(kernel, DecodeRule::Plain, items, 0, args.into());
    }

    fn push(&mut self, kernel: &'static Kernel, rule: DecodeRule, items: usize, segment: usize, args: Vec<u32>) {
        debug_assert!(kernel.rules(&self.limits).contains(&rule), "{kernel:?} is not compiled ahead for {rule:?}");
        debug_assert!(args.len() + 3 <= RECORD);
        if items > 0 {
            let items = u32::try_from(items).unwrap_or(u32::MAX);
            self.ops.push(Op { kernel, rule, items, segment, args });
        }
    }

    /// A dispatch of a kernel with weights, whose arguments follow `args`.
    pub(crate) fn weighted(&mut self, kernel: &'static Kernel, items: usize, args: impl Into<Vec<u32>>, piece: &Piece) {
        let mut args = args.into();
        args.extend(piece.args);
        self.push(kernel, piece.rule, items, piece.segment, args);
    }

    /// `act(f32(sum + bias))` for every row of `x`; `activation` is its number in the kernels.
    pub(crate) fn linear(
        &mut self,
        x: &GpuArray,
        weight: &WeightStore,
        bias: Option<&WeightStore>,
        activation: u32,
    ) -> Result<GpuArray, Problem> {
        let bias = self.vector(bias)?;
        let (outs, depth) = weight.extents();
        let y = self.array(vec![x.len() / depth.max(1), outs]);
        self.product(x, weight, [y.at, bias, activation])?;
        Ok(y)
    }

    /// The sums alone, unrounded: their address.
    pub(crate) fn sums(&mut self, x: &GpuArray, weight: &WeightStore) -> Result<u32, Problem> {
        let (outs, depth) = weight.extents();
        let y = self.reserve(2 * outs * (x.len() / depth.max(1)));
        self.product(x, weight, [y, NONE, WIDE])?;
        Ok(y)
    }

    fn product(&mut self, x: &GpuArray, store: &WeightStore, [y, bias, activation]: [u32; 3]) -> Result<(), Problem> {
        let (outs, depth) = store.extents();
        let rows = x.len() / depth.max(1);
        self.within(depth)?;
        for piece in self.pieces(store, Sums::Exact)? {
            let (first, width) = (piece.rows.start, piece.rows.len());
            let bias = if bias == NONE { NONE } else { bias + 2 * first as u32 };
            let numbers =
                [rows as u32, width as u32, depth as u32, x.at, y, bias, activation, outs as u32, first as u32];
            let lone = rows == 1 && width >= 32 && depth.is_multiple_of(256) && (LONG..=LONGEST).contains(&depth);
            let lone = lone && self.is_double() && self.limits.large_groups;
            let many = rows >= 64 && width >= 64 && rows * width >= MANY && self.limits.large_groups;
            match piece.rule {
                DecodeRule::Single | DecodeRule::Half | DecodeRule::Bfloat if lone && self.limits.subgroups => {
                    self.weighted(kernel::GEMV, width, numbers, &piece);
                }
                DecodeRule::Narrow if lone => {
                    self.weighted(kernel::GEMV_NARROW, width, numbers, &piece);
                }
                rule if rule != DecodeRule::Narrow && many => {
                    self.weighted(kernel::GEMM, width.div_ceil(64) * rows.div_ceil(128), numbers, &piece);
                }
                _ => self.weighted(kernel::TILES, width.div_ceil(4) * rows.div_ceil(4), numbers, &piece),
            }
        }
        Ok(())
    }

    fn is_double(&self) -> bool {
        self.limits.precision == Precision::Double
    }

    /// What an earlier call has left at a place of the network.
    pub(crate) fn cache(&self, place: (usize, usize)) -> CacheShape {
        self.state.shape(place)
    }

    /// Has the cache of a place copied to `to` before the first dispatch.
    pub(crate) fn restore(&mut self, place: (usize, usize), to: [u32; 2], stride: usize) {
        let shape = self.cache(place);
        self.restored.push(Restored { place, shape, to, stride });
    }

    /// Has keys and values kept for the next call.
    pub(crate) fn keep(&mut self, place: (usize, usize), shape: CacheShape, from: [u32; 2], stride: usize) {
        self.kept.push(Kept { place, shape, from, stride });
    }

    /// Words of all arrays.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// Words of all codes.
    pub(crate) fn code_words(&self) -> usize {
        self.segments.iter().map(|segment| segment.words).sum()
    }

    /// How many bindings the codes take.
    pub(crate) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// What the network takes on a device.
    pub(crate) fn footprint(&self) -> Footprint {
        let weights = 4 * self.code_words() as u64;
        let records = (self.ops.len() * RECORD * 4) as u64;
        let activations = 4 * self.words as u64;
        Footprint { weights, activations, peak: weights + activations + records }
    }
}

/// What a network takes on a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Packed codes.
    pub weights: u64,
    /// Inputs, outputs and everything between, tables and guards.
    pub activations: u64,
    /// All of it with the parameters: nothing is freed within a run.
    pub peak: u64,
}
