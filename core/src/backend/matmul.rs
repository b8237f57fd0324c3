//! The one matrix kernel: `y[r, o] = emit(o, sum over k of x[r, k] * w[o, k])`.
//!
//! Each sum is carried in f64 with k ascending. A product of two f32 is exact in f64, so it
//! makes no difference whether a path fuses the multiply and the add; where weights need more
//! digits than f32 has, every path multiplies and then adds. Vector paths run across outputs
//! and never across k, and threads take whole outputs. Hence every path gives the same bits.
//!
//! Weights of integer types of at most eight bits are another matter: their sums are exact, see
//! the module `exact`.
//!
//! The scalar path decodes one row of the store at a time, code by code; the vector paths
//! decode short blocks of [`Panels`]. No path decodes a whole matrix.

use std::sync::OnceLock;

use rayon::prelude::*;

use super::exact::{self, Fixed, Whole};
use super::limits::{MAX_PANELS, PANEL, STEP};
use super::panels::{Block, Narrow};
use super::simd;
use super::{Cpu, Isa, Panels, Threads};
use crate::dtype::{Affine, Rule};
use crate::store::{Scales, WeightStore};

/// Below this many multiplications the other cores are not woken.
const WORTH_SHARING: usize = 1 << 15;
/// Rows that are kept at hand as f64 while the weights pass by.
const ROWS: usize = 64;
/// Weights that are decoded at a time: 16 KiB of f32.
const BUFFER: usize = 4096;

/// Elements in a cache line, at most.
const LINE: usize = 16;

/// A weight matrix `w[o, k]`.
#[derive(Clone, Copy)]
pub(crate) struct MatRef<'a> {
    source: Source<'a>,
    outs: usize,
    depth: usize,
    /// Where its packed form is kept for the next time.
    kept: Option<&'a OnceLock<Panels>>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    /// `w[o, k] = data[o * out_stride + k * depth_stride]`.
    View { data: &'a [f32], out_stride: usize, depth_stride: usize },
    /// Packed codes, row-major.
    Store(&'a WeightStore),
}

impl<'a> MatRef<'a> {
    /// The matrix of a store.
    pub(crate) fn store(store: &'a WeightStore) -> Self {
        let (outs, depth) = store.extents();
        Self { source: Source::Store(store), outs, depth, kept: None }
    }

    /// A matrix `[outs, depth]` with `stride` elements between outputs.
    pub(crate) fn strided(data: &'a [f32], outs: usize, depth: usize, stride: usize) -> Self {
        Self { source: Source::View { data, out_stride: stride, depth_stride: 1 }, outs, depth, kept: None }
    }

    /// The transpose: a matrix stored as `[depth, outs]` with `stride` between steps of k.
    pub(crate) fn columns(data: &'a [f32], outs: usize, depth: usize, stride: usize) -> Self {
        Self { source: Source::View { data, out_stride: 1, depth_stride: stride }, outs, depth, kept: None }
    }

    /// Remembers the packed form in `kept`, when it is used many times.
    pub(crate) fn kept_in(self, kept: &'a OnceLock<Panels>) -> Self {
        Self { kept: Some(kept), ..self }
    }

    /// Row `o`, from k = 0 on.
    fn row(&self, o: usize, out: &mut [f64]) {
        match self.source {
            Source::View { data, out_stride, depth_stride } => {
                for (k, slot) in out.iter_mut().enumerate() {
                    *slot = f64::from(data[o * out_stride + k * depth_stride]);
                }
            }
            Source::Store(store) => store.decode(o * self.depth, out),
        }
    }

    /// The store, if sums over it are exact.
    fn narrow(&self) -> Option<&'a WeightStore> {
        match self.source {
            Source::Store(store) if store.rule() == Rule::Narrow => Some(store),
            _ => None,
        }
    }

    /// The panels that are kept for the next time, made now if need be.
    fn kept_panels(&self) -> Option<&'a Panels> {
        self.kept.map(|kept| kept.get_or_init(|| self.pack()))
    }

    fn pack(&self) -> Panels {
        match self.source {
            Source::Store(store) => Panels::of(store),
            Source::View { data, out_stride, depth_stride } => {
                Panels::single(self.outs, self.depth, |o, k| data[o * out_stride + k * depth_stride])
            }
        }
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
    let panels = match cpu.isa {
        Isa::Scalar => None,
        _ => match w.kept_panels() {
            Some(kept) => Some(kept),
            None => {
                packed = w.pack();
                Some(&packed)
            }
        },
    };
    let job = Job { isa: cpu.isa, x, w, panels, emit: &emit };
    let work = out.len().saturating_mul(x.depth);
    if cpu.threads == Threads::Single || work < WORTH_SHARING {
        job.rows(0, 0, w.outs, &mut out);
    } else if x.count >= 16 {
        let share = x.count.div_ceil(2 * rayon::current_num_threads()).next_multiple_of(8);
        out.par_chunks_mut(share * w.outs).enumerate().for_each(|(i, chunk)| job.rows(i * share, 0, w.outs, chunk));
    } else {
        let share = w.outs.div_ceil(2 * rayon::current_num_threads()).next_multiple_of(PANEL * MAX_PANELS);
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
        let Some(panels) = self.panels else {
            return match self.w.narrow() {
                None => self.scalar(row, from, width, out),
                Some(store) => self.exact_scalar(store, row, from, width, out),
            };
        };
        for (i, out) in out.chunks_mut(ROWS * width).enumerate() {
            let row = row + i * ROWS;
            match (panels.narrow(), self.w.narrow()) {
                (Some(narrow), Some(store)) => self.exact(narrow, store, row, from, width, out),
                _ if panels.is_wide() => self.vector::<f64, T>(panels, row, from, width, out),
                _ => self.vector::<f32, T>(panels, row, from, width, out),
            }
        }
    }

    fn scalar<T>(&self, row: usize, from: usize, width: usize, out: &mut [T])
    where
        E: Fn(usize, f64) -> T,
    {
        let mut w = vec![0.0; self.x.depth];
        let rows: Vec<&[f32]> = (0..out.len() / width).map(|r| self.x.row(row + r)).collect();
        // A sum waits for each of its additions; four of them wait together.
        let (fours, rest) = rows.as_chunks::<4>();
        for i in 0..width {
            self.w.row(from + i, &mut w);
            let sums =
                fours.iter().flat_map(|rows| dots(*rows, &w)).chain(rest.iter().flat_map(|row| dots([*row], &w)));
            for (out, sum) in out.chunks_mut(width).zip(sums) {
                out[i] = (self.emit)(from + i, canonical(sum));
            }
        }
    }

    /// Weights of [`Rule::Narrow`] types, one output at a time.
    fn exact_scalar<T>(&self, store: &WeightStore, row: usize, from: usize, width: usize, out: &mut [T])
    where
        E: Fn(usize, f64) -> T,
    {
        let Scales::Tensor(Affine { scale, .. }) = store.scales();
        let (table, mut numbers) = (store.numbers(), vec![0; self.x.depth]);
        let rows: Vec<&[f32]> = (0..out.len() / width).map(|r| self.x.row(row + r)).collect();
        let wholes: Vec<Option<Whole>> = rows.iter().map(|row| Whole::new(row)).collect();
        for i in 0..width {
            store.look_up(&table, (from + i) * self.w.depth, &mut numbers);
            for ((row, whole), out) in rows.iter().zip(&wholes).zip(out.chunks_mut(width)) {
                let sum = whole.as_ref().map_or_else(|| exact::sum(row, &numbers), |whole| whole.dot(&numbers));
                out[i] = (self.emit)(from + i, canonical(sum * f64::from(scale)));
            }
        }
    }

    /// Weights of [`Rule::Narrow`] types for at most [`ROWS`] rows.
    fn exact<T>(&self, narrow: &Narrow, store: &WeightStore, row: usize, from: usize, width: usize, out: &mut [T])
    where
        E: Fn(usize, f64) -> T,
    {
        let last = (from + width).div_ceil(PANEL);
        let fixed = |r| Fixed::new(self.x.row(row + r), narrow.bits);
        let rows: Vec<Option<Fixed>> = (0..out.len() / width).map(fixed).collect();
        let mut sums = [[0.0; PANEL]; MAX_PANELS];
        for panel in (from / PANEL..last).step_by(MAX_PANELS) {
            let these = panel..last.min(panel + MAX_PANELS);
            for (fixed, out) in rows.iter().zip(out.chunks_mut(width)) {
                let Some(fixed) = fixed else { continue };
                fixed.sums(self.isa, narrow, these.clone(), &mut sums);
                let wanted = out[panel * PANEL - from..].iter_mut().zip(sums[..these.len()].as_flattened());
                for (i, (slot, sum)) in wanted.enumerate() {
                    *slot = (self.emit)(panel * PANEL + i, sum * f64::from(narrow.scale));
                }
            }
        }
        for (r, (_, out)) in rows.iter().zip(out.chunks_mut(width)).enumerate().filter(|(_, (row, _))| row.is_none()) {
            self.exact_scalar(store, row + r, from, width, out);
        }
    }

    /// At most [`ROWS`] rows; the weights are `L`.
    fn vector<L: Block, T>(&self, panels: &Panels, row: usize, from: usize, width: usize, out: &mut [T])
    where
        E: Fn(usize, f64) -> T,
    {
        let (depth, count) = (self.x.depth, out.len() / width);
        let groups = self.groups(row, count);
        let most = groups.first().map_or(1, |group| group.rows);
        // Codes of many panels in turn would come from memory in pieces too short to be foreseen.
        let most_panels = if panels.is_coded() { 2 } else { MAX_PANELS };
        let together = simd::panels_at_once(self.isa, most).min(most_panels);
        // Nothing to decode needs no room.
        let mut room = vec![L::default(); if panels.is_coded() { BUFFER + LINE } else { 0 }];
        // Vectors that straddle cache lines would cost twice.
        let skip = room.as_ptr().align_offset(64).min(LINE);
        let buffer = room.get_mut(skip..skip + BUFFER).unwrap_or_default();
        let mut sums = vec![[0.0; PANEL]; count * together];
        let last = (from + width).div_ceil(PANEL);
        let mut panel = from / PANEL;
        while panel < last {
            let p = if last - panel >= together { together } else { 1 };
            // Weights that are used in place need no short blocks.
            let steps = if panels.is_coded() { (BUFFER / PANEL / p) / STEP * STEP } else { depth.max(1) };
            sums[..count * p].fill([0.0; PANEL]);
            for k in (0..depth).step_by(steps) {
                let k = k..depth.min(k + steps);
                let mut parts = buffer.chunks_mut(BUFFER / p);
                let mut weights: [&[L]; MAX_PANELS] = [&[]; MAX_PANELS];
                for (i, slot) in weights[..p].iter_mut().enumerate() {
                    *slot = L::block(panels, self.isa, panel + i, k.clone(), parts.next().unwrap_or_default());
                }
                for Group { first, rows, x } in &groups {
                    let x = &x[k.start * rows..k.end * rows];
                    L::tile(self.isa, *rows, x, &weights[..p], &mut sums[first * p..][..rows * p]);
                }
            }
            for (m, out) in out.chunks_mut(width).enumerate() {
                let at = panel * PANEL - from;
                let wanted = out[at..].iter_mut().zip(sums[m * p..][..p].as_flattened());
                for (i, (slot, sum)) in wanted.enumerate() {
                    *slot = (self.emit)(panel * PANEL + i, canonical(*sum));
                }
            }
            panel += p;
        }
    }

    /// Rows as f64, a few at a time interleaved over k, as tiles take them.
    fn groups(&self, row: usize, count: usize) -> Vec<Group> {
        let mut groups = Vec::new();
        let mut first = 0;
        while first < count {
            let rows = simd::rows_at_once(self.isa, count - first);
            let mut x = vec![0.0; self.x.depth * rows];
            for m in 0..rows {
                for (k, &v) in self.x.row(row + first + m).iter().enumerate() {
                    x[k * rows + m] = f64::from(v);
                }
            }
            groups.push(Group { first, rows, x });
            first += rows;
        }
        groups
    }
}

/// Rows `first .. first + rows`: `x[k * rows + m]`.
struct Group {
    first: usize,
    rows: usize,
    x: Vec<f64>,
}

/// The sum of each row times the weights, k ascending.
fn dots<const R: usize>(rows: [&[f32]; R], w: &[f64]) -> [f64; R] {
    let rows = rows.map(|row| &row[..w.len()]);
    let mut sums = [0.0; R];
    for (k, &w) in w.iter().enumerate() {
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum += f64::from(row[k]) * w;
        }
    }
    sums
}

/// Which NaN a sum ends in depends on the order of an instruction's operands: one for all.
fn canonical(sum: f64) -> f64 {
    if sum.is_nan() { f64::NAN } else { sum }
}

#[cfg(test)]
mod tests;
