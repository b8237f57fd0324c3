//! Exact sums of f32 numbers times whole numbers: what the matrix kernel does with weights of
//! integer types of at most eight bits.
//!
//! `sum of x_k * n_k` has one exact value; it is rounded once to f64. No order of summation
//! matters, and integers may be used: [`Whole`] writes a row of x as whole numbers over a common
//! power of two, which the scalar path multiplies with the codes' numbers; the vector paths cut
//! them into digits of eight bits ([`Fixed`]) and sum products of digits with codes in 32 bits.
//! Rows whose numbers lie too far apart become several, whose sums are added exactly; the scalar
//! path uses [`sum`] there.

use std::borrow::Cow;
use std::ops::Range;

use super::Isa;
use super::limits::{MAX_DIGITS, MAX_PANELS, PANEL};
use super::panels::Narrow;
use super::simd;
use crate::math::two_to;

/// Bits that they hold: balanced digits reach a little less far than a two's complement number.
const REACH: i32 = 8 * MAX_DIGITS as i32 - 2;

/// A finite single as `m * 2^(e - 149)` with a signed whole m of at most 24 bits.
fn parts(x: f32) -> (i64, u32) {
    let bits = x.to_bits();
    let (biased, fraction) = (bits >> 23 & 0xff, i64::from(bits & 0x7f_ffff));
    let (m, e) = if biased == 0 { (fraction, 0) } else { (fraction | 0x80_0000, biased - 1) };
    (if x.is_sign_negative() { -m } else { m }, e)
}

/// The places of the lowest bit of a finite single that is not 0, and of the one above its
/// highest, counted from 2^-149.
fn span(x: f32) -> (i32, i32) {
    let (m, e) = parts(x);
    (e as i32 + m.trailing_zeros() as i32, e as i32 + 64 - m.unsigned_abs().leading_zeros() as i32)
}

/// Wide accumulators of whole multiples of 2^-149. Terms whose exponents share their upper bits
/// share one; each term has at most 33 bits and is shifted by at most 63, which leaves room for
/// 2^30 of them.
#[derive(Default)]
struct Wide([i128; 6]);

impl Wide {
    /// Adds `value * 2^(e - 149)`, 32 bits at a time.
    fn add(&mut self, mut value: i128, mut e: u32) {
        while value != 0 && value != -1 {
            self.0[(e / 64) as usize] += (value & 0xffff_ffff) << (e % 64);
            value >>= 32;
            e += 32;
        }
        // What is left of a negative number stands for itself.
        self.0[(e / 64) as usize] += value << (e % 64);
    }

    /// The total, rounded once.
    fn rounded(&self) -> f64 {
        let mut limbs = [0u64; 8];
        let mut carry = 0i128;
        for (i, limb) in limbs.iter_mut().enumerate() {
            let total = self.0.get(i).copied().unwrap_or(0) + carry;
            *limb = total as u64;
            carry = total >> 64;
        }
        let negative = carry < 0;
        if negative {
            let mut borrow = true;
            for limb in &mut limbs {
                (*limb, borrow) = (!*limb).overflowing_add(u64::from(borrow));
            }
        }
        let Some(top) = limbs.iter().rposition(|&limb| limb != 0) else { return 0.0 };
        let low = top.saturating_sub(1);
        // Two limbs hold more bits than f64 does; what lies below them only breaks ties.
        let rest = u128::from(limbs[..low].iter().any(|&limb| limb != 0));
        let upper =
            if top == 0 { u128::from(limbs[0]) } else { u128::from(limbs[top]) << 64 | u128::from(limbs[low]) | rest };
        let magnitude = upper as f64 * two_to((64 * low as i32 - 149).into());
        if negative { -magnitude } else { magnitude }
    }
}

/// The sum of `x[k] * n[k]`, exact and then rounded to f64. Where an x is not finite it is what
/// IEEE arithmetic makes of the terms in order.
pub(super) fn sum(x: &[f32], n: &[i32]) -> f64 {
    if x.iter().any(|x| !x.is_finite()) {
        return x.iter().zip(n).fold(0.0, |sum, (&x, &n)| sum + f64::from(x) * f64::from(n));
    }
    let mut wide = Wide::default();
    for (&x, &n) in x.iter().zip(n) {
        let (m, e) = parts(x);
        wide.0[(e / 64) as usize] += i128::from(m * i64::from(n)) << (e % 64);
    }
    wide.rounded()
}

/// As [`sum`], the faster way where there is one.
pub(crate) fn dot(x: &[f32], n: &[i32]) -> f64 {
    Whole::new(x).map_or_else(|| sum(x, n), |whole| whole.dot(n))
}

/// A row of x as whole numbers times `2^exponent`.
pub(super) struct Whole {
    exponent: i32,
    numbers: Vec<i64>,
    /// Digits of base 256 that hold each number.
    digits: usize,
    /// Whether sums with codes of nine bits, sign included, fit 64 bits.
    fits: bool,
}

impl Whole {
    /// Scales a row, unless its numbers lie too far apart or are not finite.
    pub(super) fn new(x: &[f32]) -> Option<Self> {
        let mut windows = Self::windows(x)?;
        let last = windows.pop();
        last.filter(|_| windows.is_empty())
    }

    /// A row as the sum of as few rows as hold its numbers: each takes those of the rest that do
    /// not reach too far below the largest. `None` when a number is not finite.
    pub(super) fn windows(x: &[f32]) -> Option<Vec<Self>> {
        if x.iter().any(|x| !x.is_finite()) {
            return None;
        }
        let mut windows = Vec::new();
        let mut rest = Cow::Borrowed(x);
        loop {
            let spans = rest.iter().filter(|x| **x != 0.0).map(|&x| span(x));
            let reach = |(low, high): (i32, i32), (bottom, top)| (low.min(bottom), high.max(top));
            let (low, high) = spans.fold((i32::MAX, i32::MIN), reach);
            let (low, high) = if low > high { (0, 0) } else { (low, high) };
            if high - low <= REACH {
                windows.push(Self::of(&rest, low, high));
                return Some(windows);
            }
            let is_near = |x: f32| x != 0.0 && span(x).0 >= high - REACH;
            let near: Vec<f32> = rest.iter().map(|&x| if is_near(x) { x } else { 0.0 }).collect();
            let low = near.iter().filter(|x| **x != 0.0).map(|&x| span(x).0).min().unwrap_or(high);
            windows.push(Self::of(&near, low, high));
            rest.to_mut().iter_mut().filter(|x| is_near(**x)).for_each(|x| *x = 0.0);
        }
    }

    /// Numbers whose bits lie from `low` to `high`, in units of 2^-149.
    fn of(x: &[f32], low: i32, high: i32) -> Self {
        let whole = |&x: &f32| match parts(x) {
            (0, _) => 0,
            (m, e) if (e as i32) < low => m >> (low - e as i32),
            (m, e) => m << (e as i32 - low),
        };
        let digits = if high == low { 0 } else { ((high - low) as usize + 2).div_ceil(8) };
        let fits = 8 * digits + 9 + (usize::BITS - x.len().leading_zeros()) as usize <= 62;
        Self { exponent: low - 149, numbers: x.iter().map(whole).collect(), digits, fits }
    }

    /// The sum of the row with the numbers of an output: what [`sum`] gives.
    pub(super) fn dot(&self, n: &[i32]) -> f64 {
        let terms = self.numbers.iter().zip(n);
        let unit = two_to(self.exponent.into());
        if self.fits {
            terms.fold(0i64, |sum, (&x, &n)| sum + x * i64::from(n)) as f64 * unit
        } else {
            terms.fold(0i128, |sum, (&x, &n)| sum + i128::from(x) * i128::from(n)) as f64 * unit
        }
    }
}

/// A [`Whole`] row cut into balanced digits of base 256.
struct Cut {
    exponent: i32,
    count: usize,
    total: i128,
    fits: bool,
    /// For each step, `count` digits of each of four elements.
    digits: Vec<[i8; 4]>,
}

impl Cut {
    /// Cuts a row. `bits` is the width of a code, which decides in what order elements meet
    /// their codes.
    fn new(row: &Whole, bits: usize) -> Self {
        let (count, per_byte, per_word) = (row.digits, 8 / bits, 32 / bits);
        let mut digits = vec![[0; 4]; row.numbers.len().div_ceil(per_word) * per_byte * count];
        // A row of zeros has no digits.
        let words = digits.chunks_exact_mut(per_byte * count.max(1)).zip(row.numbers.chunks(per_word));
        for (word, numbers) in words {
            for (byte, numbers) in numbers.chunks(per_byte).enumerate() {
                for (step, whole) in word.chunks_exact_mut(count).zip(numbers) {
                    // With 128 added to every digit, digits are the bytes of a two's complement number.
                    let bytes = whole.wrapping_add(0x8080_8080_8080_8080_u64 as i64).to_le_bytes();
                    step.iter_mut().zip(bytes).for_each(|(digit, b)| digit[byte] = (b ^ 0x80) as i8);
                }
            }
        }
        let total = row.numbers.iter().map(|&x| i128::from(x)).sum();
        Self { exponent: row.exponent, count, total, fits: row.fits, digits }
    }

    /// The sums of each digit with the outputs of each panel.
    fn totals(&self, isa: Isa, narrow: &Narrow, panels: &Range<usize>) -> Totals {
        let mut totals = [[[0i64; PANEL]; MAX_DIGITS]; MAX_PANELS];
        let Some(columns) = self.digits.len().checked_div(self.count) else { return totals };
        // A product of two digits has 16 bits, four are added at a time.
        const STEPS: usize = 1 << 13;
        let per_byte = 8 / narrow.bits;
        let words = columns / per_byte;
        for first in (0..words).step_by(STEPS / per_byte) {
            let range = first..words.min(first + STEPS / per_byte);
            let digits = &self.digits[range.start * per_byte * self.count..range.end * per_byte * self.count];
            let mut weights: [&[u8]; MAX_PANELS] = [&[]; MAX_PANELS];
            for (slot, panel) in weights.iter_mut().zip(panels.clone()) {
                *slot = narrow.words(panel, range.clone());
            }
            simd::digits(isa, self.count, digits, narrow.bits, &narrow.table, &weights[..panels.len()], &mut totals);
        }
        totals
    }
}

/// Sums of each digit with each output of each panel.
type Totals = [[[i64; PANEL]; MAX_DIGITS]; MAX_PANELS];

/// A row of x in digits: one [`Cut`] for numbers of like size, more where they lie far apart.
pub(super) struct Fixed(Vec<Cut>);

impl Fixed {
    /// Cuts a row, unless one of its numbers is not finite.
    pub(super) fn new(x: &[f32], bits: usize) -> Option<Self> {
        Some(Self(Whole::windows(x)?.iter().map(|row| Cut::new(row, bits)).collect()))
    }

    /// The sums of the row with the outputs of each panel of `panels`, which are at most
    /// [`MAX_PANELS`].
    pub(super) fn sums(&self, isa: Isa, narrow: &Narrow, panels: Range<usize>, out: &mut [[f64; PANEL]]) {
        let each: Vec<(&Cut, Totals)> = self.0.iter().map(|cut| (cut, cut.totals(isa, narrow, &panels))).collect();
        // Codes count from the smallest number.
        let offset = i128::from(narrow.offset);
        for p in 0..panels.len() {
            for (o, slot) in out[p].iter_mut().enumerate() {
                *slot = match &each[..] {
                    [(cut, totals)] if cut.fits => {
                        let digits = totals[p][..cut.count].iter().rev();
                        let sum = digits.fold(0i64, |sum, digit| (sum << 8) + digit[o]);
                        (sum + (cut.total * offset) as i64) as f64 * two_to(cut.exponent.into())
                    }
                    cuts => {
                        let mut wide = Wide::default();
                        for (cut, totals) in cuts {
                            let digits = totals[p][..cut.count].iter().rev();
                            let sum = digits.fold(0i128, |sum, digit| (sum << 8) + i128::from(digit[o]));
                            wide.add(sum + cut.total * offset, (cut.exponent + 149) as u32);
                        }
                        wide.rounded()
                    }
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whole_numbers_give_the_exact_sum(terms in prop::collection::vec((-8i32..8, -1.0f32..1.0, -255i32..256), 0..60)) {
            let x: Vec<f32> = terms.iter().map(|(e, x, _)| x * 2f32.powi(*e)).collect();
            let n: Vec<i32> = terms.iter().map(|(.., n)| *n).collect();
            if let Some(row) = Whole::new(&x) {
                prop_assert_eq!(row.dot(&n).to_bits(), sum(&x, &n).to_bits());
            }
        }

        #[test]
        fn windows_add_up_to_the_exact_sum(terms in prop::collection::vec((any::<u32>(), -255i32..256), 0..60)) {
            let x: Vec<f32> = terms.iter().map(|(bits, _)| f32::from_bits(*bits)).map(|x| if x.is_finite() { x } else { 1.0 }).collect();
            let n: Vec<i32> = terms.iter().map(|(_, n)| *n).collect();
            let mut wide = Wide::default();
            for row in Whole::windows(&x).expect("finite") {
                let total = row.numbers.iter().zip(&n).fold(0, |sum, (&x, &n)| sum + i128::from(x) * i128::from(n));
                wide.add(total, (row.exponent + 149) as u32);
            }
            prop_assert_eq!(wide.rounded().to_bits(), sum(&x, &n).to_bits());
        }
    }

    #[test]
    fn sums_are_exact_and_rounded_once() {
        let (huge, tiny) = (f32::MAX, f32::from_bits(1));
        assert_eq!(sum(&[huge, 1.0, -huge], &[1, 3, 1]), 3.0);
        assert_eq!(sum(&[huge, tiny, -huge], &[127, 5, 127]), 5.0 * 2f64.powi(-149));
        assert_eq!(sum(&[-huge, tiny, huge], &[2, -1, 2]), -(2f64.powi(-149)));
        assert_eq!(sum(&[], &[]).to_bits(), 0);
        assert_eq!(sum(&[1.0, -1.0], &[1, 1]).to_bits(), 0);
        // 2^53 + 1 is a tie: to even, unless something tiny lies beyond it.
        let big = 2f32.powi(53);
        assert_eq!(sum(&[big, 1.0], &[1, 1]), 2f64.powi(53));
        assert_eq!(sum(&[big, 1.0, tiny], &[1, 1, 1]), 2f64.powi(53) + 2.0);
        assert_eq!(sum(&[big, 1.0, tiny], &[1, 1, -1]), 2f64.powi(53));
        assert_eq!(sum(&[-big, -1.0, -tiny], &[1, 1, 1]), -(2f64.powi(53) + 2.0));
        assert!(sum(&[f32::INFINITY, 1.0], &[0, 1]).is_nan());
        assert_eq!(sum(&[f32::INFINITY, 1.0], &[-2, 1]), f64::NEG_INFINITY);
    }

    #[test]
    fn rows_are_cut_into_as_few_digits_as_hold_them() {
        let digits = |x: &[f32]| Whole::new(x).map(|row| row.digits);
        assert_eq!(digits(&[0.0, -0.0]), Some(0));
        assert_eq!(digits(&[1.0, -3.0, 0.5]), Some(1));
        assert_eq!(digits(&[127.0 / 64.0]), Some(2));
        assert_eq!(digits(&[1.0, 1.0 / 1024.0 / 3.0]), Some(5));
        assert_eq!(digits(&[1.0, 2f32.powi(-53)]), Some(7));
        assert_eq!(digits(&[1.0, 2f32.powi(-54)]), None);
        assert_eq!(Whole::windows(&[1.0, 2f32.powi(-54), 0.0, f32::MAX]).map(|rows| rows.len()), Some(3));
        assert_eq!(digits(&[f32::NAN]), None);
    }
}
