//! What a device makes of single operations, measured when it is opened; what may be claimed of
//! its results follows from it.

use super::kernel::{self, DecodeRule, Kernel};
use super::tape::RECORD;
use super::{Gpu, Precision};
use crate::error::Result;

/// Triples that are tried.
const TRIES: usize = 4096;

/// What a device makes of single operations in one precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arithmetic {
    /// Whether a product and a sum, written apart, are rounded once.
    pub contracts: bool,
    /// Whether `fma` rounds once.
    pub fused: bool,
    /// Whether quotients are correctly rounded.
    pub division: bool,
    /// Whether square roots are correctly rounded.
    pub root: bool,
    /// Whether subnormal results are kept.
    pub subnormals: bool,
}

/// The device's arithmetic as the kernels use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Of f32.
    pub single: Arithmetic,
    /// Of f64, where the device has it.
    pub double: Option<Arithmetic>,
}

impl Probe {
    /// Whether results equal the CPU's by design: f64 that is neither fused nor inexact.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.double.is_some_and(|a| !a.contracts && a.division && a.root && a.subnormals)
    }
}

/// A float type, for the same questions to both.
trait Float: Copy + PartialEq {
    fn random(state: &mut u64, scale: i32) -> Self;
    fn results(a: Self, b: Self, c: Self) -> [Self; 5];
    fn contracted(a: Self, b: Self, c: Self) -> Self;
    fn tiny() -> Self;
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 12
}

macro_rules! float {
    ($float:ty, $bits:ty, $mantissa:literal, $bias:literal) => {
        impl Float for $float {
            fn random(state: &mut u64, scale: i32) -> Self {
                let mantissa = (next(state) as $bits) & ((1 << $mantissa) - 1);
                <$float>::from_bits((($bias + scale) as $bits) << $mantissa | mantissa)
            }
            fn results(a: Self, b: Self, c: Self) -> [Self; 5] {
                [a * b + c, a * b + c, a / b, a.sqrt(), a * b]
            }
            fn contracted(a: Self, b: Self, c: Self) -> Self {
                a.mul_add(b, c)
            }
            fn tiny() -> Self {
                <$float>::MIN_POSITIVE
            }
        }
    };
}

float!(f32, u32, 23, 127);
float!(f64, u64, 52, 1023);

/// Triples: ordinary ones whose sum cancels, and a last one whose product is subnormal.
fn triples<F: Float + std::ops::Neg<Output = F>>() -> Vec<[F; 3]> {
    let mut state = 0x5eed;
    let mut triples: Vec<[F; 3]> = (0..TRIES)
        .map(|_| {
            let (a, b) = (F::random(&mut state, 0), F::random(&mut state, 0));
            [a, b, -F::results(a, b, b)[4]]
        })
        .collect();
    triples.push([F::tiny(), F::random(&mut state, -3), F::random(&mut state, 0)]);
    triples
}

fn judged<F: Float>(triples: &[[F; 3]], seen: &[[F; 5]]) -> Arithmetic {
    let ordinary = || triples.iter().zip(seen).take(TRIES);
    let all = |which: usize| ordinary().all(|(&[a, b, c], seen)| seen[which] == F::results(a, b, c)[which]);
    let last = triples.len() - 1;
    let [a, b, c] = triples[last];
    Arithmetic {
        contracts: !all(0),
        fused: ordinary().all(|(&[a, b, c], seen)| seen[1] == F::contracted(a, b, c)),
        division: all(2),
        root: all(3),
        subnormals: seen[last][4] == F::results(a, b, c)[4],
    }
}

impl Gpu {
    /// Measures the device's arithmetic.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device fails.
    pub fn probe(&self) -> Result<Probe> {
        let (singles, doubles) = (triples::<f32>(), triples::<f64>());
        let n = singles.len();
        let mut words: Vec<u32> = singles.iter().flatten().map(|v| v.to_bits()).collect();
        let at64 = words.len();
        words.extend(doubles.iter().flatten().flat_map(|v| [v.to_bits() as u32, (v.to_bits() >> 32) as u32]));
        let out32 = words.len();
        let out64 = out32 + 5 * n;
        words.resize(out64 + 10 * n, 0);
        let args = [0, at64 as u32, out32 as u32, out64 as u32];
        let words = self.direct(kernel::PROBE, words, n as u32, &args)?;
        let seen32: Vec<[f32; 5]> =
            (0..n).map(|i| std::array::from_fn(|k| f32::from_bits(words[out32 + 5 * i + k]))).collect();
        let seen64 = (0..n).map(|i| {
            std::array::from_fn(|k| {
                let at = out64 + 10 * i + 2 * k;
                f64::from_bits(u64::from(words[at]) | u64::from(words[at + 1]) << 32)
            })
        });
        let seen64: Vec<[f64; 5]> = seen64.collect();
        let double = (self.precision == Precision::Double).then(|| judged(&doubles, &seen64));
        Ok(Probe { single: judged(&singles, &seen32), double })
    }

    /// One dispatch of a kernel without weights over an arena of its own, which comes back.
    pub(crate) fn direct(
        &self,
        kernel: &'static Kernel,
        arena: Vec<u32>,
        items: u32,
        args: &[u32],
    ) -> Result<Vec<u32>> {
        use wgpu::BufferUsages;
        let storage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let mut record = vec![0, 0, items];
        record.extend(args);
        record.resize(RECORD, 0);
        let [codes, params] = [vec![0], record].map(|words| {
            let buffer = self.buffer(words.len(), storage);
            self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&words));
            buffer
        });
        let words = self.buffer(arena.len(), storage | BufferUsages::COPY_SRC);
        self.queue.write_buffer(&words, 0, bytemuck::cast_slice(&arena));
        let readback = self.buffer(arena.len(), BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        let group = self.bind(&codes, &words, &params, RECORD);
        let pipeline = self.maker().make(kernel, DecodeRule::Plain).map_err(|e| self.fault(e.to_string()))?;
        let mut encoder = self.encoder();
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[0]);
            pass.dispatch_workgroups(items.div_ceil(kernel.per_group()), 1, 1);
        }
        encoder.copy_buffer_to_buffer(&words, 0, &readback, 0, 4 * arena.len() as u64);
        self.submit(encoder)?;
        self.read(&readback, arena.len())
    }
}
