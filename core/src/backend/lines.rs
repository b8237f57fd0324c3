//! Loops along lines of elements, for layers that sum few terms for each output: depthwise convolutions and pools.
//! Every output is an accumulator of its own, so that vector paths give the bits of the scalar one.

use super::Cpu;
use super::simd::{Loop, compiled_for};

impl Cpu {
    /// `sums[i] += x[i * stride] * w` in f64, multiplied and then added.
    pub(crate) fn add_products(&self, sums: &mut [f64], x: &[f32], stride: usize, w: f64) {
        compiled_for(self.isa(), Products { sums, x, stride, w });
    }

    /// `most[i] = max(most[i], x[i * stride])`; a NaN stays.
    pub(crate) fn take_most(&self, most: &mut [f32], x: &[f32], stride: usize) {
        compiled_for(self.isa(), Most { most, x, stride });
    }
}

struct Products<'a> {
    sums: &'a mut [f64],
    x: &'a [f32],
    stride: usize,
    w: f64,
}

impl Loop for Products<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { sums, x, stride, w } = self;
        match stride {
            1 => sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += f64::from(x) * w),
            2 => sums.iter_mut().zip(x.chunks(2)).for_each(|(sum, x)| *sum += f64::from(x[0]) * w),
            _ => sums.iter_mut().zip(x.iter().step_by(stride)).for_each(|(sum, &x)| *sum += f64::from(x) * w),
        }
    }
}

struct Most<'a> {
    most: &'a mut [f32],
    x: &'a [f32],
    stride: usize,
}

impl Loop for Most<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { most, x, stride } = self;
        // A comparison with NaN is false: the one that is there stays, and a new one takes its place.
        let larger = |most: &mut f32, x: f32| *most = if *most >= x { *most } else { keep(*most, x) };
        match stride {
            1 => most.iter_mut().zip(x).for_each(|(most, &x)| larger(most, x)),
            2 => most.iter_mut().zip(x.chunks(2)).for_each(|(most, x)| larger(most, x[0])),
            _ => most.iter_mut().zip(x.iter().step_by(stride)).for_each(|(most, &x)| larger(most, x)),
        }
    }
}

/// `x`, unless `most` is NaN.
#[inline(always)]
fn keep(most: f32, x: f32) -> f32 {
    if most.is_nan() { most } else { x }
}
