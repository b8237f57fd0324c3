//! The loops of [`super`] in the instructions of x86-64.

use std::arch::x86_64::*;

use super::{Loop, MAX_DIGITS, PANEL};

// Every function of 512 bits has VL too, as `Isa::Avx512` asks for it: without VL the compiler cannot name the halves ymm16
// to ymm31, so a sum whose halves are taken at the end must lie in zmm0 to zmm15 from the start, or in memory.

/// # Safety
/// Needs AVX-512 F, BW, DQ, VL and VNNI; each panel of `weights` has 64 bytes for every `8 / bits`
/// steps of `digits`, a step being `D` digits of four elements.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn digits<const D: usize, const P: usize>(
    digits: &[[i8; 4]],
    bits: usize,
    table: &[u8; 16],
    weights: &[&[u8]; P],
    totals: &mut [[[i64; PANEL]; MAX_DIGITS]],
) {
    let mut acc = [[_mm512_setzero_si512(); D]; P];
    // Arrays of `D` and `P` elements, four bytes read as one number, and a loop of its own for whole bytes: LLVM then
    // unrolls the loops over panels and digits, and the sums stay in registers.
    // SAFETY: 16 bytes are read from the table, four from each digit and 64 from each panel for each word.
    unsafe {
        let step = |acc: &mut [__m512i; D], codes: __m512i, digits: &[[i8; 4]; D]| {
            for (acc, digit) in acc.iter_mut().zip(digits) {
                let digit = _mm512_set1_epi32(digit.as_ptr().cast::<i32>().read_unaligned());
                *acc = _mm512_dpbusd_epi32(*acc, codes, digit);
            }
        };
        let word = |panel: &[u8], i: usize| _mm512_loadu_si512(panel.as_ptr().add(i * 4 * PANEL).cast());
        if bits == 8 {
            for (i, digits) in digits.as_chunks::<D>().0.iter().enumerate() {
                for (acc, panel) in acc.iter_mut().zip(weights) {
                    step(acc, word(panel, i), digits);
                }
            }
        } else {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            let mask = _mm512_set1_epi8((u8::MAX >> (8 - bits)) as i8);
            let shift = _mm_cvtsi32_si128(bits as i32);
            for (i, digits) in digits.chunks_exact(D * (8 / bits)).enumerate() {
                let mut words = [_mm512_setzero_si512(); P];
                for (words, panel) in words.iter_mut().zip(weights) {
                    *words = word(panel, i);
                }
                for digits in digits.as_chunks::<D>().0 {
                    for (words, acc) in words.iter_mut().zip(&mut acc) {
                        step(acc, _mm512_shuffle_epi8(table, _mm512_and_si512(*words, mask)), digits);
                        *words = _mm512_srl_epi32(*words, shift);
                    }
                }
            }
        }
    }
    for (acc, totals) in acc.iter().zip(totals) {
        for (acc, totals) in acc.iter().zip(totals) {
            let mut sums = [0i32; PANEL];
            // SAFETY: 16 sums of 32 bits.
            unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), *acc) };
            totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += i64::from(sum));
        }
    }
}

/// # Safety
/// Needs AVX-512 F, BW, DQ and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn with_avx512(body: impl Loop) {
    body.run();
}

/// # Safety
/// Needs AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn with_avx2(body: impl Loop) {
    body.run();
}

/// # Safety
/// Needs AVX2; `words` has 64 bytes for every `8 / bits` steps of `digits`, a step being
/// `count` digits, at most [`MAX_DIGITS`], of four elements.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn digits_avx2(
    count: usize,
    digits: &[[i8; 4]],
    bits: usize,
    table: &[u8; 16],
    words: &[u8],
    totals: &mut [[i64; PANEL]; MAX_DIGITS],
) {
    // Four outputs at a time, whose sums of seven digits fit the registers.
    for quarter in 0..4 {
        let mut acc = [_mm256_setzero_si256(); MAX_DIGITS];
        // SAFETY: 16 bytes are read from the table and from each word of 64 bytes.
        unsafe {
            let table = _mm_loadu_si128(table.as_ptr().cast());
            let mask = _mm_set1_epi8((u8::MAX >> (8 - bits)) as i8);
            let shift = _mm_cvtsi32_si128(bits as i32);
            let steps = digits.chunks_exact(count * (8 / bits));
            for (words, digits) in words.chunks_exact(4 * PANEL).zip(steps) {
                let mut words = _mm_loadu_si128(words[quarter * PANEL..].as_ptr().cast());
                for digits in digits.chunks_exact(count) {
                    let field = _mm_and_si128(words, mask);
                    let codes = if bits == 8 { words } else { _mm_shuffle_epi8(table, field) };
                    let codes = _mm256_cvtepu8_epi16(codes);
                    for (acc, digit) in acc.iter_mut().zip(digits) {
                        let digit = _mm_set1_epi32(i32::from_le_bytes(digit.map(|d| d as u8)));
                        *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(codes, _mm256_cvtepi8_epi16(digit)));
                    }
                    words = _mm_srl_epi32(words, shift);
                }
            }
        }
        for (acc, totals) in acc[..count].iter().zip(totals.iter_mut()) {
            let mut pairs = [[0i32; 2]; 4];
            // SAFETY: 8 sums of 32 bits.
            unsafe { _mm256_storeu_si256(pairs.as_mut_ptr().cast(), *acc) };
            for (total, [a, b]) in totals[4 * quarter..].iter_mut().zip(pairs) {
                *total += i64::from(a) + i64::from(b);
            }
        }
    }
}

/// Defines a tile of AVX-512: `$load` widens 8 weights from a pointer, `$add` adds a product.
macro_rules! avx512 {
    ($name:ident, $lane:ty, $load:expr, $add:expr) => {
        /// # Safety
        /// Needs AVX-512 F, BW, DQ and VL; `x` holds `M` and each panel [`PANEL`] elements for each k, `sums`
        /// has `M * P` rows.
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        pub(super) unsafe fn $name<const M: usize, const P: usize>(
            x: &[f64],
            panels: &[&[$lane]; P],
            sums: &mut [[f64; PANEL]],
        ) {
            // SAFETY: rows of `sums` have 16 elements, two vectors of 8; the offsets into the
            // panels stay below `x.len() / M * PANEL`.
            unsafe {
                let mut acc = [[[_mm512_setzero_pd(); 2]; P]; M];
                for (i, acc) in acc.as_flattened_mut().iter_mut().enumerate() {
                    *acc = [_mm512_loadu_pd(sums[i].as_ptr()), _mm512_loadu_pd(sums[i].as_ptr().add(8))];
                }
                for (k, x) in x.chunks_exact(M).enumerate() {
                    for p in 0..P {
                        let w = panels[p].as_ptr().add(k * PANEL);
                        let w = [$load(w), $load(w.add(8))];
                        for m in 0..M {
                            let x = _mm512_set1_pd(x[m]);
                            acc[m][p][0] = $add(x, w[0], acc[m][p][0]);
                            acc[m][p][1] = $add(x, w[1], acc[m][p][1]);
                        }
                    }
                }
                for (i, acc) in acc.as_flattened().iter().enumerate() {
                    _mm512_storeu_pd(sums[i].as_mut_ptr(), acc[0]);
                    _mm512_storeu_pd(sums[i].as_mut_ptr().add(8), acc[1]);
                }
            }
        }
    };
}

avx512!(avx512_f32, f32, |w| _mm512_cvtps_pd(_mm256_loadu_ps(w)), |x, w, sum| _mm512_fmadd_pd(x, w, sum));
avx512!(avx512_f64, f64, |w| _mm512_loadu_pd(w), |x, w, sum| _mm512_add_pd(sum, _mm512_mul_pd(x, w)));

/// Defines a tile of AVX2, which takes the outputs of a panel in two halves.
macro_rules! avx2 {
    ($name:ident, $lane:ty, $load:expr, $add:expr) => {
        /// # Safety
        /// Needs AVX2 and FMA; `x` holds `M` and each panel [`PANEL`] elements for each k,
        /// `sums` has `M * P` rows.
        #[target_feature(enable = "avx2,fma")]
        pub(super) unsafe fn $name<const M: usize, const P: usize>(
            x: &[f64],
            panels: &[&[$lane]; P],
            sums: &mut [[f64; PANEL]],
        ) {
            for half in [0, 8] {
                // SAFETY: this half reads and writes 8 of the 16 elements in two vectors of 4.
                unsafe {
                    let mut acc = [[[_mm256_setzero_pd(); 2]; P]; M];
                    for (i, acc) in acc.as_flattened_mut().iter_mut().enumerate() {
                        let sums = sums[i].as_ptr().add(half);
                        *acc = [_mm256_loadu_pd(sums), _mm256_loadu_pd(sums.add(4))];
                    }
                    for (k, x) in x.chunks_exact(M).enumerate() {
                        for p in 0..P {
                            let w = panels[p].as_ptr().add(k * PANEL + half);
                            let w = [$load(w), $load(w.add(4))];
                            for m in 0..M {
                                let x = _mm256_set1_pd(x[m]);
                                acc[m][p][0] = $add(x, w[0], acc[m][p][0]);
                                acc[m][p][1] = $add(x, w[1], acc[m][p][1]);
                            }
                        }
                    }
                    for (i, acc) in acc.as_flattened().iter().enumerate() {
                        let sums = sums[i].as_mut_ptr().add(half);
                        _mm256_storeu_pd(sums, acc[0]);
                        _mm256_storeu_pd(sums.add(4), acc[1]);
                    }
                }
            }
        }
    };
}

avx2!(avx2_f32, f32, |w| _mm256_cvtps_pd(_mm_loadu_ps(w)), |x, w, sum| _mm256_fmadd_pd(x, w, sum));
avx2!(avx2_f64, f64, |w| _mm256_loadu_pd(w), |x, w, sum| _mm256_add_pd(sum, _mm256_mul_pd(x, w)));

/// # Safety
/// Needs AVX-512 F, BW, DQ and VL; `codes` holds two bytes for each element of `out`, whole groups of 16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn halves_avx512(codes: &[u8], out: &mut [f32]) {
    for (codes, out) in codes.chunks_exact(2 * PANEL).zip(out.chunks_exact_mut(PANEL)) {
        // SAFETY: 32 bytes are read and 16 floats written.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), _mm512_cvtph_ps(_mm256_loadu_si256(codes.as_ptr().cast()))) };
    }
}

/// # Safety
/// Needs AVX2 and F16C; `codes` holds two bytes for each element of `out`, whole groups of 8.
#[target_feature(enable = "avx2,f16c")]
pub(super) unsafe fn halves_avx2(codes: &[u8], out: &mut [f32]) {
    for (codes, out) in codes.chunks_exact(PANEL).zip(out.chunks_exact_mut(PANEL / 2)) {
        // SAFETY: 16 bytes are read and 8 floats written.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(codes.as_ptr().cast()))) };
    }
}

/// # Safety
/// Needs AVX-512 F, BW, DQ and VL; `out` holds whole groups of 16, at most `32 / bits` of them.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn words_avx512(bits: u32, table: &[f32; 16], words: &[u8; 4 * PANEL], out: &mut [f32]) {
    // SAFETY: 64 bytes are read from each array, and 16 floats written to each group.
    unsafe {
        let table = _mm512_loadu_ps(table.as_ptr());
        let mut words = _mm512_loadu_si512(words.as_ptr().cast());
        let bits = _mm_cvtsi32_si128(bits as i32);
        for out in out.chunks_exact_mut(PANEL) {
            // The permutation reads the lowest four bits of each index.
            _mm512_storeu_ps(out.as_mut_ptr(), _mm512_permutexvar_ps(words, table));
            words = _mm512_srl_epi32(words, bits);
        }
    }
}

/// # Safety
/// Needs AVX2; `out` holds whole groups of 16, at most `32 / bits` of them.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn words_avx2(bits: i32, table: &[f32; 16], words: &[u8; 4 * PANEL], out: &mut [f32]) {
    // SAFETY: 64 bytes are read from each array, and 16 floats written to each group.
    unsafe {
        let (low, high) = (_mm256_loadu_ps(table.as_ptr()), _mm256_loadu_ps(table.as_ptr().add(8)));
        let words: *const __m256i = words.as_ptr().cast();
        let mut words = [_mm256_loadu_si256(words), _mm256_loadu_si256(words.add(1))];
        let bits = _mm_cvtsi32_si128(bits);
        for out in out.chunks_exact_mut(PANEL) {
            for (half, words) in words.iter_mut().enumerate() {
                let (a, b) = (_mm256_permutevar8x32_ps(low, *words), _mm256_permutevar8x32_ps(high, *words));
                // Bit 3 of the code, moved to the sign, picks the half of the table.
                let pick = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(*words));
                _mm256_storeu_ps(out.as_mut_ptr().add(8 * half), _mm256_blendv_ps(a, b, pick));
                *words = _mm256_srl_epi32(*words, bits);
            }
        }
    }
}
