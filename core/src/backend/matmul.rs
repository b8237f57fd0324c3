//! The one matrix kernel: `y[r, o] = emit(o, sum over k of x[r, k] * w[o, k])`.
//!
//! Each sum is carried in f64 with k ascending. A product of two f32 is exact in f64, so it
//! makes no difference whether a path fuses the multiply and the add; vector paths run
//! across outputs and never across k, and threads take whole outputs. Hence every path
//! gives the same bits.

use std::sync::OnceLock;

use rayon::prelude::*;

use super::{Cpu, Isa, Threads, simd};

/// Outputs that stand side by side in a [`Panels`] block.
pub(super) const PANEL: usize = 16;
/// Below this many multiplications the other cores are not woken.
const WORTH_SHARING: usize = 1 << 15;

/// A weight matrix as a view: `w[o, k] = data[o * out_stride + k * depth_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct MatRef<'a> {
    data: &'a [f32],
    outs: usize,
    depth: usize,
    out_stride: usize,
    depth_stride: usize,
    kept: Option<&'a OnceLock<Panels>>,
}

impl<'a> MatRef<'a> {
    /// A matrix `[outs, depth]`, one output after the other.
    pub(crate) fn rows(data: &'a [f32], outs: usize, depth: usize) -> Self {
        Self { data, outs, depth, out_stride: depth, depth_stride: 1, kept: None }
    }

    /// The transpose: a matrix stored as `[depth, outs]` with `stride` between steps of k.
    pub(crate) fn columns(data: &'a [f32], outs: usize, depth: usize, stride: usize) -> Self {
        Self { data, outs, depth, out_stride: 1, depth_stride: stride, kept: None }
    }

    /// Like [`MatRef::rows`] with `stride` elements between outputs.
    pub(crate) fn strided(data: &'a [f32], outs: usize, depth: usize, stride: usize) -> Self {
        Self { data, outs, depth, out_stride: stride, depth_stride: 1, kept: None }
    }

    /// Remembers the packed form in `kept`, for weights that are used many times.
    pub(crate) fn kept_in(self, kept: &'a OnceLock<Panels>) -> Self {
        Self { kept: Some(kept), ..self }
    }

    fn at(&self, o: usize, k: usize) -> f32 {
        self.data[o * self.out_stride + k * self.depth_stride]
    }

    fn pack(&self) -> Panels {
        let blocks = self.outs.div_ceil(PANEL);
        let mut data = vec![0.0; blocks * self.depth * PANEL];
        for (p, block) in data.chunks_exact_mut((self.depth * PANEL).max(1)).enumerate() {
            let width = PANEL.min(self.outs - p * PANEL);
            for (k, row) in block.chunks_exact_mut(PANEL).enumerate() {
                for (o, slot) in row[..width].iter_mut().enumerate() {
                    *slot = self.at(p * PANEL + o, k);
                }
            }
        }
        Panels { depth: self.depth, data }
    }
}

/// Weights re-packed for the vector paths: blocks of [`PANEL`] outputs, interleaved over k,
/// zero-filled at the end.
#[derive(Debug)]
pub(crate) struct Panels {
    depth: usize,
    data: Vec<f32>,
}

impl Panels {
    fn block(&self, index: usize, depth: usize) -> &[f32] {
        let size = self.depth * PANEL;
        &self.data[index * size..index * size + depth * PANEL]
    }
}

/// The left operand: `count` rows of `depth` elements, `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    data: &'a [f32],
    count: usize,
    depth: usize,
    stride: usize,
}

impl<'a> Rows<'a> {
    /// Rows that follow each other without gaps.
    pub(crate) fn packed(data: &'a [f32], depth: usize) -> Self {
        Self { data, count: data.len() / depth.max(1), depth, stride: depth }
    }

    /// `count` rows, `stride` apart.
    pub(crate) fn strided(data: &'a [f32], count: usize, depth: usize, stride: usize) -> Self {
        Self { data, count, depth, stride }
    }

    fn row(&self, r: usize) -> &'a [f32] {
        &self.data[r * self.stride..r * self.stride + self.depth]
    }
}

/// `emit(o, sum)` for every row and output, row-major `[x.count, w.outs]`. The sum runs over
/// the first `x.depth` columns of `w`, which may be fewer than it has.
pub(crate) fn matmul<T, E>(cpu: &Cpu, x: Rows<'_>, w: MatRef<'_>, emit: E) -> Vec<T>
where
    T: Copy + Default + Send,
    E: Fn(usize, f64) -> T + Sync,
{
    debug_assert!(x.depth <= w.depth);
    let mut out = vec![T::default(); x.count * w.outs];
    if out.is_empty() {
        return out;
    }
    let packed;
    let panels = match (cpu.isa, w.kept) {
        (Isa::Scalar, _) => None,
        (_, Some(kept)) => Some(kept.get_or_init(|| w.pack())),
        (_, None) => {
            packed = w.pack();
            Some(&packed)
        }
    };
    let job = Job { isa: cpu.isa, x, w, panels, emit: &emit };
    let work = out.len().saturating_mul(x.depth);
    if cpu.threads == Threads::Single || work < WORTH_SHARING {
        job.rows(0, 0, w.outs, &mut out);
    } else if x.count >= 4 {
        let share = x.count.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(8);
        out.par_chunks_mut(share * w.outs).enumerate().for_each(|(i, chunk)| job.rows(i * share, 0, w.outs, chunk));
    } else {
        let share = w.outs.div_ceil(2 * rayon::current_num_threads()).next_multiple_of(PANEL);
        for (r, row) in out.chunks_mut(w.outs).enumerate() {
            row.par_chunks_mut(share).enumerate().for_each(|(i, chunk)| job.rows(r, i * share, chunk.len(), chunk));
        }
    }
    out
}

struct Job<'a, E> {
    isa: Isa,
    x: Rows<'a>,
    w: MatRef<'a>,
    panels: Option<&'a Panels>,
    emit: &'a E,
}

impl<E> Job<'_, E> {
    /// Fills `out` with whole rows from `row` on, outputs `from .. from + width` of each.
    /// `from` is a multiple of [`PANEL`].
    fn rows<T>(&self, row: usize, from: usize, width: usize, out: &mut [T])
    where
        E: Fn(usize, f64) -> T,
    {
        match self.panels {
            None => self.scalar(row, from, width, out),
            Some(panels) => self.vector(panels, row, from, width, out),
        }
    }

    fn scalar<T>(&self, row: usize, from: usize, width: usize, out: &mut [T])
    where
        E: Fn(usize, f64) -> T,
    {
        for (r, out) in out.chunks_mut(width).enumerate() {
            let x = self.x.row(row + r);
            for (i, slot) in out.iter_mut().enumerate() {
                let mut sum = 0.0;
                for (k, &x) in x.iter().enumerate() {
                    sum += f64::from(x) * f64::from(self.w.at(from + i, k));
                }
                *slot = (self.emit)(from + i, canonical(sum));
            }
        }
    }

    fn vector<T>(&self, panels: &Panels, row: usize, from: usize, width: usize, out: &mut [T])
    where
        E: Fn(usize, f64) -> T,
    {
        let depth = self.x.depth;
        let mut x = Vec::new();
        let mut done = 0;
        let count = out.len() / width;
        while done < count {
            let block = simd::rows_at_once(self.isa, count - done);
            x.clear();
            x.resize(depth * block, 0.0);
            for m in 0..block {
                for (k, &v) in self.x.row(row + done + m).iter().enumerate() {
                    x[k * block + m] = f64::from(v);
                }
            }
            for p in (0..width).step_by(PANEL) {
                let mut sums = [[0.0; PANEL]; simd::MAX_ROWS];
                simd::tile(self.isa, block, &x, panels.block((from + p) / PANEL, depth), &mut sums);
                for (m, sums) in sums[..block].iter().enumerate() {
                    let at = (done + m) * width + p;
                    for (i, slot) in out[at..at + PANEL.min(width - p)].iter_mut().enumerate() {
                        *slot = (self.emit)(from + p + i, canonical(sums[i]));
                    }
                }
            }
            done += block;
        }
    }
}

/// Which NaN a sum ends in depends on the order of an instruction's operands: one for all.
fn canonical(sum: f64) -> f64 {
    if sum.is_nan() { f64::NAN } else { sum }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(n: usize, seed: u32) -> Vec<f32> {
        let mut s = seed | 1;
        let mut next = || {
            s ^= s << 13;
            s ^= s >> 17;
            s ^= s << 5;
            s
        };
        // Magnitudes from 2^-20 to 2^20, so that the order of a sum matters.
        (0..n).map(|_| ((next() as f32 / u32::MAX as f32) - 0.5) * 2f32.powi((next() % 40) as i32 - 20)).collect()
    }

    proptest! {
        #[test]
        fn every_path_gives_the_same_bits(rows in 0usize..20, depth in 0usize..70, outs in 1usize..60, used in 0usize..70, seed: u32) {
            let used = used.min(depth);
            let (x, w) = (values(rows * depth, seed), values(outs * depth, !seed));
            let x = Rows::strided(&x, rows, used, depth);
            for w in [MatRef::rows(&w, outs, depth), MatRef::columns(&w, outs, depth, outs)] {
                let want = matmul(&Cpu::scalar(), x, w, |o, s| s + o as f64);
                for isa in Isa::available() {
                    for threads in [Threads::Single, Threads::Multi] {
                        let got = matmul(&Cpu { isa, threads }, x, w, |o, s| s + o as f64);
                        prop_assert!(want.iter().zip(&got).all(|(a, b)| a.to_bits() == b.to_bits()), "{isa} {threads:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn large_enough_to_share_gives_the_same_bits() {
        for (rows, depth, outs) in [(1, 300, 1000), (3, 301, 333), (37, 129, 65)] {
            let (x, w) = (values(rows * depth, 7), values(outs * depth, 11));
            let (x, w) = (Rows::packed(&x, depth), MatRef::rows(&w, outs, depth));
            let want = matmul(&Cpu::scalar(), x, w, |_, s| s);
            for isa in Isa::available() {
                let got = matmul(&Cpu { isa, threads: Threads::Multi }, x, w, |_, s| s);
                assert!(want.iter().zip(&got).all(|(a, b)| a.to_bits() == b.to_bits()), "{isa}");
            }
        }
    }
}
