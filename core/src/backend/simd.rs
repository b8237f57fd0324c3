//! Vector tiles: a few rows by a few panels of [`PANEL`] outputs, f64 lanes across outputs; and
//! the decoders that need more than a loop.
//!
//! The only module with unsafe code: intrinsics behind run-time detection, and unaligned loads
//! whose bounds are asserted at the entrance. Products of two f32 are exact in f64, so there
//! the fused multiply-add rounds where the scalar loop rounds; f64 weights are multiplied and
//! added in two steps, as the scalar loop does.
#![expect(unsafe_code, reason = "std::arch intrinsics; every entrance checks its slices first")]

use super::Isa;
use super::limits::{MAX_DIGITS, MAX_PANELS, PANEL};

/// The most rows that one tile takes.
const MAX_ROWS: usize = 8;

/// How many of `left` rows the next tile takes.
pub(super) fn rows_at_once(isa: Isa, left: usize) -> usize {
    let most = if isa == Isa::Avx512 { MAX_ROWS } else { 4 };
    [8, 4, 2, 1].into_iter().find(|&n| n <= most && n <= left).unwrap_or(1)
}

/// How many panels keep the registers busy beside `rows` rows.
pub(super) fn panels_at_once(isa: Isa, rows: usize) -> usize {
    let accumulators = if isa == Isa::Avx512 { 8 } else { 4 };
    (accumulators / rows).clamp(1, MAX_PANELS)
}

#[cfg(target_arch = "x86_64")]
pub(super) fn is_available(isa: Isa) -> bool {
    let avx2 =
        || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    match isa {
        Isa::Scalar => true,
        Isa::Avx2 => avx2(),
        Isa::Avx512 => {
            avx2()
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_available(isa: Isa) -> bool {
    isa == Isa::Scalar
}

/// A type that decoded weights have.
pub(super) trait Element: Copy + Default + Into<f64> + 'static {
    /// `sums[m * panels + p][o] += sum over k of x[k * rows + m] * panels[p][k * PANEL + o]`.
    fn tile(isa: Isa, rows: usize, x: &[f64], panels: &[&[Self]], sums: &mut [[f64; PANEL]]);
}

fn check<L>(isa: Isa, rows: usize, x: &[f64], panels: &[&[L]], sums: &[[f64; PANEL]]) {
    let fits = panels.iter().all(|panel| panel.len() * rows == x.len() * PANEL);
    assert!(is_available(isa) && fits && sums.len() == rows * panels.len(), "tile operands disagree");
}

/// Runs `$avx512` or `$avx2` with the number of rows and of panels as constants.
#[cfg(target_arch = "x86_64")]
macro_rules! dispatch {
    ($isa:expr, $rows:expr, $x:expr, $panels:expr, $sums:expr, $avx512:ident, $avx2:ident) => {{
        macro_rules! call {
            ($f:ident, $m:literal, $p:literal) => {
                if let Ok(panels) = <&[&[_]; $p]>::try_from($panels) {
                    return unsafe { x86::$f::<$m, $p>($x, panels, $sums) };
                }
            };
        }
        // SAFETY: `check` has detected the instruction set and measured the slices.
        match ($isa, $rows, $panels.len()) {
            (Isa::Avx512, 8, 1) => call!($avx512, 8, 1),
            (Isa::Avx512, 4, 1) => call!($avx512, 4, 1),
            (Isa::Avx512, 2, 1) => call!($avx512, 2, 1),
            (Isa::Avx512, 1, 1) => call!($avx512, 1, 1),
            (Isa::Avx512, 4, 2) => call!($avx512, 4, 2),
            (Isa::Avx512, 2, 2) => call!($avx512, 2, 2),
            (Isa::Avx512, 1, 2) => call!($avx512, 1, 2),
            (Isa::Avx512, 2, 4) => call!($avx512, 2, 4),
            (Isa::Avx512, 1, 4) => call!($avx512, 1, 4),
            (Isa::Avx2, 4, 1) => call!($avx2, 4, 1),
            (Isa::Avx2, 2, 1) => call!($avx2, 2, 1),
            (Isa::Avx2, 1, 1) => call!($avx2, 1, 1),
            (Isa::Avx2, 2, 2) => call!($avx2, 2, 2),
            (Isa::Avx2, 1, 2) => call!($avx2, 1, 2),
            (Isa::Avx2, 1, 4) => call!($avx2, 1, 4),
            _ => {}
        }
    }};
}

impl Element for f32 {
    fn tile(isa: Isa, rows: usize, x: &[f64], panels: &[&[f32]], sums: &mut [[f64; PANEL]]) {
        check(isa, rows, x, panels, sums);
        #[cfg(target_arch = "x86_64")]
        dispatch!(isa, rows, x, panels, sums, avx512_f32, avx2_f32);
        unreachable!("no tile of {rows} rows by {} panels on {isa}", panels.len());
    }
}

impl Element for f64 {
    fn tile(isa: Isa, rows: usize, x: &[f64], panels: &[&[f64]], sums: &mut [[f64; PANEL]]) {
        check(isa, rows, x, panels, sums);
        #[cfg(target_arch = "x86_64")]
        dispatch!(isa, rows, x, panels, sums, avx512_f64, avx2_f64);
        unreachable!("no tile of {rows} rows by {} panels on {isa}", panels.len());
    }
}

/// A loop that is to be compiled for an instruction set. `run` must be `inline(always)`, or it
/// is compiled without it.
pub(super) trait Loop {
    /// Runs the loop.
    fn run(self);
}

/// Runs a loop compiled for an instruction set, so that it is vectorised for it.
pub(super) fn compiled_for(isa: Isa, body: impl Loop) {
    assert!(is_available(isa), "{isa} is not available");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction set was detected.
    match isa {
        Isa::Avx512 => return unsafe { x86::with_avx512(body) },
        Isa::Avx2 => return unsafe { x86::with_avx2(body) },
        Isa::Scalar => {}
    }
    body.run();
}

/// IEEE halves to singles.
pub(super) fn halves(isa: Isa, codes: &[u8], out: &mut [f32]) {
    assert!(is_available(isa) && codes.len() == 2 * out.len() && out.len().is_multiple_of(PANEL), "halves");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction set was detected, and both slices hold whole groups of PANEL.
    match isa {
        Isa::Avx512 => return unsafe { x86::halves_avx512(codes, out) },
        Isa::Avx2 => return unsafe { x86::halves_avx2(codes, out) },
        Isa::Scalar => {}
    }
    for (slot, code) in out.iter_mut().zip(codes.as_chunks().0) {
        *slot = half::f16::from_le_bytes(*code).to_f32();
    }
}

/// Codes of `bits` bits from words that each hold one output's next `32 / bits` codes, the first
/// in the lowest bits: [`PANEL`] words, then the next [`PANEL`]. `table[i]` is the value of
/// code `i mod 2^bits`, so that the bits above a code need no mask.
pub(super) fn words(isa: Isa, bits: usize, table: &[f32; 16], codes: &[u8], out: &mut [f32]) {
    let group = 32 / bits * PANEL;
    assert!(is_available(isa) && codes.len() == out.len().div_ceil(group) * 4 * PANEL, "words");
    let (codes, _) = codes.as_chunks::<{ 4 * PANEL }>();
    for (words, out) in codes.iter().zip(out.chunks_mut(group)) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction set was detected; the slices are cut to whole groups of PANEL.
        match isa {
            Isa::Avx512 => {
                unsafe { x86::words_avx512(bits as u32, table, words, out) };
                continue;
            }
            Isa::Avx2 => {
                unsafe { x86::words_avx2(bits as i32, table, words, out) };
                continue;
            }
            Isa::Scalar => {}
        }
        for (j, out) in out.chunks_mut(PANEL).enumerate() {
            for (slot, word) in out.iter_mut().zip(words.as_chunks().0) {
                *slot = table[(u32::from_le_bytes(*word) >> (j * bits)) as usize & 15];
            }
        }
    }
}

/// Adds to `totals[p][j][o]` the products of digit j of each element with the codes of output o
/// in panel p. `digits` holds `count` digits of four elements for each step; `weights` the words
/// of each panel, whose `8 / bits` steps each take one code from every byte, by way of `table`
/// where a code has fewer than eight bits. Steps are so few that 32 bits hold their sums.
pub(super) fn digits(
    isa: Isa,
    count: usize,
    digits: &[[i8; 4]],
    bits: usize,
    table: &[u8; 16],
    weights: &[&[u8]],
    totals: &mut [[[i64; PANEL]; MAX_DIGITS]; MAX_PANELS],
) {
    let steps = digits.len() / count * bits / 8;
    let fits = weights.iter().all(|words| words.len() == steps * 4 * PANEL);
    let known = matches!(bits, 1 | 2 | 4 | 8) && (1..=MAX_DIGITS).contains(&count);
    assert!(is_available(isa) && fits && known, "digit operands disagree");
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 && is_x86_feature_detected!("avx512vnni") {
        // All panels share each digit that is loaded, as far as their sums fit the registers.
        let together = if count < MAX_DIGITS { MAX_PANELS } else { MAX_PANELS / 2 };
        for (weights, totals) in weights.chunks(together).zip(totals.chunks_mut(together)) {
            macro_rules! call {
                ($d:literal) => {
                    // SAFETY: the instruction sets were detected and the slices measured.
                    match weights {
                        [a, b, c, d] => unsafe { x86::digits::<$d, 4>(digits, bits, table, &[a, b, c, d], totals) },
                        [a, b, c] => unsafe { x86::digits::<$d, 3>(digits, bits, table, &[a, b, c], totals) },
                        [a, b] => unsafe { x86::digits::<$d, 2>(digits, bits, table, &[a, b], totals) },
                        [a] => unsafe { x86::digits::<$d, 1>(digits, bits, table, &[a], totals) },
                        _ => {}
                    }
                };
            }
            match count {
                1 => call!(1),
                2 => call!(2),
                3 => call!(3),
                4 => call!(4),
                5 => call!(5),
                6 => call!(6),
                _ => call!(7),
            }
        }
        return;
    }
    #[cfg(target_arch = "x86_64")]
    for (words, totals) in weights.iter().zip(totals) {
        // SAFETY: both vector instruction sets include AVX2; the slices were measured.
        unsafe { x86::digits_avx2(count, digits, bits, table, words, totals) };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;
