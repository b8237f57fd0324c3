//! Vector tiles: up to [`MAX_ROWS`] rows by [`PANEL`] outputs, f64 lanes across outputs.
//!
//! The only module with unsafe code: intrinsics behind run-time detection, and unaligned
//! loads whose bounds are asserted at the entrance. The fused multiply-add is exact here in
//! its product (two f32 widened to f64), so it rounds where the scalar loop rounds.
#![expect(unsafe_code, reason = "std::arch intrinsics; every tile checks its slices first")]

use super::Isa;
use super::matmul::PANEL;

/// The most rows that one tile takes.
pub(super) const MAX_ROWS: usize = 8;

/// How many of `left` rows the next tile takes.
pub(super) fn rows_at_once(isa: Isa, left: usize) -> usize {
    let most = if isa == Isa::Avx512 { MAX_ROWS } else { 4 };
    [8, 4, 2, 1].into_iter().find(|&n| n <= most && n <= left).unwrap_or(1)
}

#[cfg(target_arch = "x86_64")]
pub(super) fn is_available(isa: Isa) -> bool {
    match isa {
        Isa::Scalar => true,
        Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        Isa::Avx512 => is_x86_feature_detected!("avx512f"),
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_available(isa: Isa) -> bool {
    isa == Isa::Scalar
}

/// `sums[m][o] = sum over k of x[k * rows + m] * panel[k * PANEL + o]` for `m < rows`.
pub(super) fn tile(isa: Isa, rows: usize, x: &[f64], panel: &[f32], sums: &mut [[f64; PANEL]; MAX_ROWS]) {
    assert!(is_available(isa) && x.len() * PANEL == panel.len() * rows, "tile operands disagree");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction set was detected, and the slices hold `k` steps each.
    unsafe {
        match (isa, rows) {
            (Isa::Avx512, 1) => x86::avx512::<1>(x, panel, sums),
            (Isa::Avx512, 2) => x86::avx512::<2>(x, panel, sums),
            (Isa::Avx512, 4) => x86::avx512::<4>(x, panel, sums),
            (Isa::Avx512, 8) => x86::avx512::<8>(x, panel, sums),
            (Isa::Avx2, 1) => x86::avx2::<1>(x, panel, sums),
            (Isa::Avx2, 2) => x86::avx2::<2>(x, panel, sums),
            (Isa::Avx2, 4) => x86::avx2::<4>(x, panel, sums),
            _ => plain(rows, x, panel, sums),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    plain(rows, x, panel, sums);
}

/// The same tile without intrinsics.
fn plain(rows: usize, x: &[f64], panel: &[f32], sums: &mut [[f64; PANEL]; MAX_ROWS]) {
    for (x, w) in x.chunks_exact(rows).zip(panel.chunks_exact(PANEL)) {
        for (sums, x) in sums.iter_mut().zip(x) {
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum += x * f64::from(*w);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{MAX_ROWS, PANEL};

    /// # Safety
    /// Needs AVX-512F; `x` holds `M` and `panel` [`PANEL`] elements for each k.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn avx512<const M: usize>(x: &[f64], panel: &[f32], sums: &mut [[f64; PANEL]; MAX_ROWS]) {
        let mut acc = [[_mm512_setzero_pd(); 2]; M];
        for (x, w) in x.chunks_exact(M).zip(panel.chunks_exact(PANEL)) {
            // SAFETY: `w` has 16 elements, two loads of 8.
            let w = unsafe {
                [_mm512_cvtps_pd(_mm256_loadu_ps(w.as_ptr())), _mm512_cvtps_pd(_mm256_loadu_ps(w.as_ptr().add(8)))]
            };
            for m in 0..M {
                let x = _mm512_set1_pd(x[m]);
                acc[m][0] = _mm512_fmadd_pd(x, w[0], acc[m][0]);
                acc[m][1] = _mm512_fmadd_pd(x, w[1], acc[m][1]);
            }
        }
        for m in 0..M {
            // SAFETY: each row of `sums` has 16 elements, two stores of 8.
            unsafe {
                _mm512_storeu_pd(sums[m].as_mut_ptr(), acc[m][0]);
                _mm512_storeu_pd(sums[m].as_mut_ptr().add(8), acc[m][1]);
            }
        }
    }

    /// # Safety
    /// Needs AVX2 and FMA; `x` holds `M` and `panel` [`PANEL`] elements for each k.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2<const M: usize>(x: &[f64], panel: &[f32], sums: &mut [[f64; PANEL]; MAX_ROWS]) {
        for half in [0, 8] {
            let mut acc = [[_mm256_setzero_pd(); 2]; M];
            for (x, w) in x.chunks_exact(M).zip(panel.chunks_exact(PANEL)) {
                // SAFETY: `w` has 16 elements; this half reads 8 of them in two loads of 4.
                let w = unsafe {
                    let w = w.as_ptr().add(half);
                    [_mm256_cvtps_pd(_mm_loadu_ps(w)), _mm256_cvtps_pd(_mm_loadu_ps(w.add(4)))]
                };
                for m in 0..M {
                    let x = _mm256_set1_pd(x[m]);
                    acc[m][0] = _mm256_fmadd_pd(x, w[0], acc[m][0]);
                    acc[m][1] = _mm256_fmadd_pd(x, w[1], acc[m][1]);
                }
            }
            for m in 0..M {
                // SAFETY: each row of `sums` has 16 elements; this half writes 8 of them.
                unsafe {
                    let sums = sums[m].as_mut_ptr().add(half);
                    _mm256_storeu_pd(sums, acc[m][0]);
                    _mm256_storeu_pd(sums.add(4), acc[m][1]);
                }
            }
        }
    }
}
