//! The heads of attention on the CPU: their norms, their rotation, and what each query mixes.

use std::sync::OnceLock;

use super::MhaSpec;
use crate::backend::{Cpu, MatRef, Rows, matmul};
use crate::layers::norm::rms;
use crate::layers::softmax::softmax_in_place;
use crate::math::{pow, sin_cos};

/// Queries whose values are mixed in one product.
const TOGETHER: usize = 8;

/// Keys and values of one batch element, positions one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyValues {
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
}

impl MhaSpec {
    /// Cosine and sine of every channel pair at `seq` positions from `first` on.
    pub(super) fn rotations(&self, first: usize, seq: usize) -> Vec<(f32, f32)> {
        let half = if self.rope { self.head() / 2 } else { 0 };
        let exponent = |c: usize| -(2.0 * c as f64 / self.head() as f64);
        let frequencies: Vec<f64> = (0..half).map(|c| pow(self.rope_base, exponent(c))).collect();
        let at = |p: usize| {
            frequencies.iter().map(move |f| {
                let (s, c) = sin_cos(p as f64 * f);
                (c as f32, s as f32)
            })
        };
        (first..first + seq).flat_map(at).collect()
    }

    /// Normalises and rotates each of the `heads` heads of every row, in place.
    pub(super) fn place(&self, rows: &mut [f32], heads: usize, gain: &[f64], seq: usize, table: &[(f32, f32)]) {
        let (e, half) = (self.head(), self.head() / 2);
        for (i, head) in rows.chunks_exact_mut(e).enumerate() {
            if !gain.is_empty() {
                let gain = &gain[if gain.len() == e { 0 } else { (i % heads) * e }..][..e];
                let r = rms(head, self.eps);
                head.iter_mut().zip(gain).for_each(|(v, g)| *v = (f64::from(*v) / r * g) as f32);
            }
            if !table.is_empty() {
                let turns = &table[(i / heads % seq) * half..][..half];
                let (low, high) = head[..2 * half].split_at_mut(half);
                for ((a, b), &(cos, sin)) in low.iter_mut().zip(high).zip(turns) {
                    let (x, y, cos, sin) = (f64::from(*a), f64::from(*b), f64::from(cos), f64::from(sin));
                    *a = (x * cos - y * sin) as f32;
                    *b = (x * sin + y * cos) as f32;
                }
            }
        }
    }

    /// The mixture of values that one query head of one sample sees: `[seq, head]`.
    /// `q` starts at that head, `past` positions of `kv` are older than the first query.
    pub(super) fn attend(
        &self,
        cpu: &Cpu,
        q: &[f32],
        seq: usize,
        kv: &KeyValues,
        past: usize,
        kv_head: usize,
    ) -> Vec<f32> {
        let (e, width) = (self.head(), self.kv_dim());
        let (positions, scale) = (kv.k.len() / width, (e as f64).sqrt());
        let keys = MatRef::strided(&kv.k[kv_head * e..], positions, e, width);
        let queries = Rows::strided(q, seq, e, self.query_dim());
        let mut scores: Vec<f32> = matmul(cpu, queries, keys, |_, sum| (sum / scale) as f32);
        let seen = |s: usize| {
            let end = if self.causal { past + s + 1 } else { positions };
            self.window.map_or(0, |window| end.saturating_sub(window))..end
        };
        for (s, scores) in scores.chunks_exact_mut(positions).enumerate() {
            let seen = seen(s);
            scores[..seen.start].fill(0.0);
            scores[seen.end..].fill(0.0);
            softmax_in_place(&mut scores[seen]);
        }
        let kept = OnceLock::new();
        let values = &kv.v[kv_head * e..];
        // Queries that follow each other are mixed together: one that sees less than its neighbours has weights of
        // 0 there, which add nothing to a sum that is not -0, as none is that began at 0.
        let are_finite = || kv.v.chunks_exact(width).all(|row| row[kv_head * e..][..e].iter().all(|v| v.is_finite()));
        // A lone query, as decoding has, needs no look at all values.
        let together = if seq > 1 && are_finite() { TOGETHER } else { 1 };
        let mut mixed = Vec::with_capacity(seq * e);
        for s in (0..seq).step_by(together) {
            let last = seq.min(s + together);
            let (start, end) = (seen(s).start, seen(last - 1).end);
            // One packing serves every query that sees the sequence from its start.
            let columns = |from: usize| MatRef::columns(&values[from * width..], e, positions - from, width);
            let values = if start == 0 { columns(0).kept_in(&kept) } else { columns(start) };
            let weights = Rows::strided(&scores[s * positions + start..], last - s, end - start, positions);
            let rows: Vec<f32> = matmul(cpu, weights, values, |_, sum| sum as f32);
            mixed.extend(rows);
        }
        mixed
    }
}
