//! Weights re-packed for the vector paths: blocks of [`PANEL`] outputs, interleaved over k.
//!
//! Codes stay codes: a panel holds as many bits for each weight as the store does (outputs are
//! filled up to [`PANEL`], codes of fewer than eight bits to whole words), and a kernel decodes a
//! few hundred steps of k at a time into a buffer that stays in the first cache. Only f32 and f64
//! weights, which are their own codes, are used in place.

use std::ops::Range;

use super::Isa;
use super::limits::PANEL;
use super::simd::{self, Element, Loop};
use crate::dtype::integer::product;
use crate::dtype::{Affine, Rule, Sign, unpack};
use crate::store::{Scales, WeightStore};

/// A re-packed matrix; what lies beyond the last output is zero.
#[derive(Debug)]
pub(crate) struct Panels {
    depth: usize,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Single(Vec<f32>),
    Double(Vec<f64>),
    Codes { bytes: Vec<u8>, decode: Decode },
    Narrow(Narrow),
}

/// Codes of at most eight bits for exact sums: words of 32 bits, each with successive codes of
/// one output, the first in the lowest bits.
#[derive(Debug)]
pub(super) struct Narrow {
    pub(super) bits: usize,
    /// The number of a code of fewer than eight bits, less `offset`; codes of eight bits are
    /// such numbers themselves.
    pub(super) table: [u8; 16],
    /// The smallest number.
    pub(super) offset: i32,
    /// What the sums are multiplied by.
    pub(super) scale: f32,
    /// Words of one output.
    depth: usize,
    bytes: Vec<u8>,
}

impl Narrow {
    /// The codes of a panel, `range` of its words.
    pub(super) fn words(&self, panel: usize, range: Range<usize>) -> &[u8] {
        let start = panel * self.depth;
        &self.bytes[(start + range.start) * 4 * PANEL..(start + range.end) * 4 * PANEL]
    }

    fn of(store: &WeightStore) -> Self {
        let Scales::Tensor(affine) = store.scales();
        let bits = store.dtype().bits();
        let numbers = store.numbers();
        let offset = numbers.iter().copied().min().unwrap_or(0);
        let number = |code: u64| (numbers[code as usize] - offset) as u8;
        let (depth, bytes) = match bits {
            8 => words(store, |code| u32::from(number(code))),
            _ => words(store, |code| code as u32),
        };
        let table = std::array::from_fn(|code| if bits < 8 { number((code % numbers.len()) as u64) } else { 0 });
        Self { bits, table, offset, scale: affine.scale, depth, bytes }
    }
}

/// How the codes of a panel become weights: a [`Rule`] with its numbers.
#[derive(Debug)]
enum Decode {
    Halves,
    Bfloats,
    Integers {
        bytes: usize,
        sign: Sign,
        affine: Affine,
    },
    WideIntegers {
        bytes: usize,
        sign: Sign,
        affine: Affine,
    },
    Bytes(Box<[f32; 256]>),
    /// Less than eight bits: 32-bit words, each with successive codes of one output.
    Words {
        bits: usize,
        table: [f32; 16],
    },
}

/// Rows of outputs side by side: `fill(o, row)` gives the `depth` elements of output `o`.
fn interleaved<T: Copy + Default>(outs: usize, depth: usize, mut fill: impl FnMut(usize, &mut [T])) -> Vec<T> {
    let mut data = vec![T::default(); outs.div_ceil(PANEL) * depth * PANEL];
    if depth == 0 {
        return data;
    }
    let mut row = vec![T::default(); depth];
    for (p, block) in data.chunks_exact_mut(depth * PANEL).enumerate() {
        for o in p * PANEL..outs.min((p + 1) * PANEL) {
            fill(o, &mut row);
            for (slots, value) in block.chunks_exact_mut(PANEL).zip(&row) {
                slots[o - p * PANEL] = *value;
            }
        }
    }
    data
}

impl Panels {
    /// Packs f32 weights: `at(o, k)`.
    pub(super) fn single(outs: usize, depth: usize, at: impl Fn(usize, usize) -> f32) -> Self {
        let fill = |o: usize, row: &mut [f32]| row.iter_mut().enumerate().for_each(|(k, slot)| *slot = at(o, k));
        Self { depth, data: Data::Single(interleaved(outs, depth, fill)) }
    }

    /// Packs the codes of a store.
    pub(super) fn of(store: &WeightStore) -> Self {
        let ((outs, depth), Scales::Tensor(affine)) = (store.extents(), store.scales());
        let dtype = store.dtype();
        let (bits, size) = (dtype.bits(), dtype.bits() / 8);
        let each = |o: usize, keep: &mut dyn FnMut(usize, u64)| unpack(bits, store.bytes(), o * depth, depth, keep);
        let whole = |decode: Decode| {
            let bytes = match size {
                1 => interleaved(outs, depth, |o, row| each(o, &mut |k, code| row[k] = code as u8)),
                2 => interleaved(outs, depth, |o, row| each(o, &mut |k, code| row[k] = (code as u16).to_le_bytes()))
                    .into_flattened(),
                4 => interleaved(outs, depth, |o, row| each(o, &mut |k, code| row[k] = (code as u32).to_le_bytes()))
                    .into_flattened(),
                _ => interleaved(outs, depth, |o, row| each(o, &mut |k, code| row[k] = code.to_le_bytes()))
                    .into_flattened(),
            };
            Data::Codes { bytes, decode }
        };
        let data = match store.rule() {
            Rule::Ieee if bits == 64 => {
                Data::Double(interleaved(outs, depth, |o, row| each(o, &mut |k, code| row[k] = f64::from_bits(code))))
            }
            Rule::Ieee if bits == 32 => {
                let single = |code: u64| f32::from_bits(code as u32);
                Data::Single(interleaved(outs, depth, |o, row| each(o, &mut |k, code| row[k] = single(code))))
            }
            Rule::Ieee => whole(Decode::Halves),
            Rule::Bfloat => whole(Decode::Bfloats),
            Rule::Integer(sign) => whole(Decode::Integers { bytes: size, sign, affine }),
            Rule::WideInteger(sign) => whole(Decode::WideIntegers { bytes: size, sign, affine }),
            Rule::Table if bits == 8 => {
                let mut table = Box::new([0.0; 256]);
                table.copy_from_slice(&dtype.table(store.numerics(), affine));
                whole(Decode::Bytes(table))
            }
            Rule::Narrow => Data::Narrow(Narrow::of(store)),
            Rule::Table => {
                let (_, bytes) = words(store, |code| code as u32);
                let values = dtype.table(store.numerics(), affine);
                let table = std::array::from_fn(|i| values[i % values.len()]);
                Data::Codes { bytes, decode: Decode::Words { bits, table } }
            }
        };
        Self { depth, data }
    }

    /// The codes for exact sums, if the weights are of such a type.
    pub(super) fn narrow(&self) -> Option<&Narrow> {
        match &self.data {
            Data::Narrow(narrow) => Some(narrow),
            _ => None,
        }
    }

    /// Whether the weights are f64.
    pub(super) fn is_wide(&self) -> bool {
        matches!(self.data, Data::Double(_) | Data::Codes { decode: Decode::WideIntegers { .. }, .. })
    }

    /// Whether the weights must be decoded before they are used.
    pub(super) fn is_coded(&self) -> bool {
        matches!(self.data, Data::Codes { .. })
    }
}

/// Codes of at most eight bits in words of 32, and how many words an output has.
fn words(store: &WeightStore, field: impl Fn(u64) -> u32) -> (usize, Vec<u8>) {
    let ((outs, depth), bits) = (store.extents(), store.dtype().bits());
    let codes = 32 / bits;
    let words = interleaved(outs, depth.div_ceil(codes), |o, words: &mut [[u8; 4]]| {
        let mut row = vec![0u32; words.len()];
        unpack(bits, store.bytes(), o * depth, depth, |k, code| row[k / codes] |= field(code) << (k % codes * bits));
        words.iter_mut().zip(row).for_each(|(word, codes)| *word = codes.to_le_bytes());
    });
    (depth.div_ceil(codes), words.into_flattened())
}

/// Weights of one panel over a range of k: in place, or decoded into `buffer`.
pub(super) trait Block: Element {
    fn block<'a>(panels: &'a Panels, isa: Isa, panel: usize, k: Range<usize>, buffer: &'a mut [Self]) -> &'a [Self];
}

impl Block for f32 {
    fn block<'a>(panels: &'a Panels, isa: Isa, panel: usize, k: Range<usize>, buffer: &'a mut [f32]) -> &'a [f32] {
        match &panels.data {
            Data::Single(data) => &data[panel * panels.depth * PANEL..][k.start * PANEL..k.end * PANEL],
            Data::Codes { bytes, decode } => {
                let out = &mut buffer[..k.len() * PANEL];
                decode.singles(isa, decode.slice(bytes, panels.depth, panel, &k), out);
                out
            }
            Data::Double(_) | Data::Narrow(_) => &[],
        }
    }
}

impl Block for f64 {
    fn block<'a>(panels: &'a Panels, isa: Isa, panel: usize, k: Range<usize>, buffer: &'a mut [f64]) -> &'a [f64] {
        match &panels.data {
            Data::Double(data) => &data[panel * panels.depth * PANEL..][k.start * PANEL..k.end * PANEL],
            Data::Codes { bytes, decode: decode @ Decode::WideIntegers { bytes: size, sign, affine } } => {
                let out = &mut buffer[..k.len() * PANEL];
                let (bytes, codes) = (*size, decode.slice(bytes, panels.depth, panel, &k));
                simd::compiled_for(isa, WideIntegers { bytes, sign: *sign, affine: *affine, codes, out });
                out
            }
            Data::Single(_) | Data::Codes { .. } | Data::Narrow(_) => &[],
        }
    }
}

impl Decode {
    /// The codes of steps `k` of a panel. `k.start` is a multiple of [`super::limits::STEP`].
    fn slice<'a>(&self, bytes: &'a [u8], depth: usize, panel: usize, k: &Range<usize>) -> &'a [u8] {
        // Bytes of one output over `n` steps.
        let run = |n: usize| match self {
            Decode::Halves | Decode::Bfloats => 2 * n,
            Decode::Integers { bytes, .. } | Decode::WideIntegers { bytes, .. } => bytes * n,
            Decode::Bytes(_) => n,
            Decode::Words { bits, .. } => 4 * n.div_ceil(32 / bits),
        };
        &bytes[panel * run(depth) * PANEL..][run(k.start) * PANEL..run(k.end) * PANEL]
    }

    fn singles(&self, isa: Isa, codes: &[u8], out: &mut [f32]) {
        match self {
            Decode::Halves => simd::halves(isa, codes, out),
            Decode::Bfloats => simd::compiled_for(isa, Bfloats { codes, out }),
            Decode::Integers { bytes, sign, affine } => {
                let (bytes, sign, affine) = (*bytes, *sign, *affine);
                simd::compiled_for(isa, Integers { bytes, sign, affine, codes, out });
            }
            Decode::Bytes(table) => simd::compiled_for(isa, Bytes { table, codes, out }),
            Decode::Words { bits, table } => simd::words(isa, *bits, table, codes, out),
            Decode::WideIntegers { .. } => {}
        }
    }
}

#[inline(always)]
fn each<const N: usize, T>(codes: &[u8], out: &mut [T], value: impl Fn([u8; N]) -> T) {
    for (slot, code) in out.iter_mut().zip(codes.as_chunks().0) {
        *slot = value(*code);
    }
}

/// The upper halves of singles.
struct Bfloats<'a> {
    codes: &'a [u8],
    out: &'a mut [f32],
}

impl Loop for Bfloats<'_> {
    #[inline(always)]
    fn run(self) {
        each(self.codes, self.out, |[a, b]| f32::from_bits(u32::from_le_bytes([0, 0, a, b])));
    }
}

/// Codes of eight bits by table.
struct Bytes<'a> {
    table: &'a [f32; 256],
    codes: &'a [u8],
    out: &'a mut [f32],
}

impl Loop for Bytes<'_> {
    #[inline(always)]
    fn run(self) {
        each(self.codes, self.out, |[code]| self.table[usize::from(code)]);
    }
}

/// `f32(f32(code - zero point) * scale)`.
struct Integers<'a> {
    bytes: usize,
    sign: Sign,
    affine: Affine,
    codes: &'a [u8],
    out: &'a mut [f32],
}

impl Loop for Integers<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { bytes, sign, affine: Affine { scale, zero_point }, codes, out } = self;
        // Codes of 16 bits have zero points of 16 bits.
        let zero = zero_point as i32;
        match (bytes, sign) {
            (2, Sign::Signed) => each(codes, out, |c| (i32::from(i16::from_le_bytes(c)) - zero) as f32 * scale),
            (2, Sign::Unsigned) => each(codes, out, |c| (i32::from(u16::from_le_bytes(c)) - zero) as f32 * scale),
            // Of these only the `loom` profile has codes, without zero points.
            (4, Sign::Signed) => each(codes, out, |c| i32::from_le_bytes(c) as f32 * scale),
            (4, Sign::Unsigned) => each(codes, out, |c| u32::from_le_bytes(c) as f32 * scale),
            (_, Sign::Signed) => each(codes, out, |c| i64::from_le_bytes(c) as f32 * scale),
            (_, Sign::Unsigned) => each(codes, out, |c| u64::from_le_bytes(c) as f32 * scale),
        }
    }
}

/// `(code - zero point) * scale`, rounded once to f64.
struct WideIntegers<'a> {
    bytes: usize,
    sign: Sign,
    affine: Affine,
    codes: &'a [u8],
    out: &'a mut [f64],
}

impl Loop for WideIntegers<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { bytes, sign, affine: Affine { scale, zero_point }, codes, out } = self;
        let step = f64::from(scale);
        let far = i128::from(zero_point);
        match (bytes, sign, zero_point) {
            // A number of 32 bits is exact in f64, so the product is rounded once.
            (4, Sign::Signed, _) => each(codes, out, |c| f64::from(i32::from_le_bytes(c)) * step),
            (4, Sign::Unsigned, 0x8000_0000) => {
                each(codes, out, |c| f64::from((u32::from_le_bytes(c) ^ 0x8000_0000) as i32) * step);
            }
            (8, Sign::Signed, _) => each(codes, out, |c| long(i64::from_le_bytes(c), step)),
            (8, Sign::Unsigned, 0x8000_0000_0000_0000) => {
                each(codes, out, |c| long((u64::from_le_bytes(c) ^ 0x8000_0000_0000_0000) as i64, step));
            }
            (4, Sign::Unsigned, _) => each(codes, out, |c| product(i128::from(u32::from_le_bytes(c)) - far, scale)),
            (_, _, _) => each(codes, out, |c| product(i128::from(u64::from_le_bytes(c)) - far, scale)),
        }
    }
}

/// `number * step`, rounded once, without 128-bit numbers. The number is cut into two parts
/// that f64 holds exactly. The large product's rounding error is itself a f64 (fused
/// multiply-add); it and the small product are whole numbers of fewer than 53 bits in units of
/// the last bit of `step`, so their sum is exact, and only the last addition rounds.
#[inline(always)]
fn long(number: i64, step: f64) -> f64 {
    let (high, low) = ((number & !0x3ff) as f64, (number & 0x3ff) as f64);
    let large = high * step;
    large + (high.mul_add(step, -large) + low * step)
}
