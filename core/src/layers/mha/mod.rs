//! Multi-head attention with rotary positions and grouped key/value heads.
//!
//! `q, k, v = x W^T + b`; optional per-head RMS norms on q and k; rotation of channel c with
//! c + floor(e/2) by `P / base^(2c/e)` (Su et al., 2021, half-split pairing; an odd last
//! channel stays); `softmax(q k^T / sqrt(e)) v` per head, query head h reading key/value head
//! `h div (heads / kv_heads)`; `y = a Wo^T + bo`.
//!
//! Stages, one rounding each: projections, norms, rotation (the table of cosines and sines
//! is itself rounded to f32), scores, probabilities, mixture, output. Every batch element
//! has its own positions from 0 and its own cache.
//!
//! Decoding: a call with one position for each batch element continues the cache in the
//! [`crate::State`]; any other call starts afresh.

mod heads;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Activation;
#[cfg(feature = "gpu")]
use super::Recorder;
use super::norm::{check_eps, rms_eps};
use super::{Family, Layer, RoleShape, Run, elements, holdable, on, positive};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{CacheShape, GpuArray, Kernel, NONE, kernels};
use crate::role::Role;
use crate::tensor::Tensor;
use heads::KeyValues;

#[cfg(feature = "gpu")]
const MHA: &[&str] = &[super::norm::ROW, super::softmax::ROW, include_str!("gpu.wgsl")];
#[cfg(feature = "gpu")]
kernels! {
    PLACE = Kernel::weightless("mha_place", MHA);
    SCORES = Kernel::weightless("mha_scores", MHA);
    SOFTMAX = Kernel::weightless("mha_softmax", MHA);
    MIX = Kernel::weightless("mha_mix", MHA);
}

/// Whether queries and keys are normalised before the rotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// They are not.
    #[default]
    None,
    /// One gain of `head_dim` values, shared by all heads.
    Shared,
    /// A gain for every head.
    PerHead,
}

/// Configuration of an attention layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MhaSpec {
    /// Features read and written at each position.
    pub d_model: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key/value heads; absent means as many as query heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_kv_heads: Option<usize>,
    /// Features of a head; absent means `d_model / num_heads`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Positions of a sequence in an input that does not show them: one whose last axis is not
    /// `d_model`. Otherwise they are its second last axis. Absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq_length: Option<usize>,
    /// Whether a position sees only itself and earlier ones.
    #[serde(default = "on")]
    pub causal: bool,
    /// Whether queries and keys are rotated by their positions.
    #[serde(default = "on")]
    pub rope: bool,
    /// Base of the rotation frequencies.
    #[serde(default = "rope_base")]
    pub rope_base: f64,
    /// Whether queries and keys are normalised.
    #[serde(default)]
    pub qk_norm: QkNorm,
    /// Epsilon of those norms.
    #[serde(default = "rms_eps")]
    pub eps: f64,
    /// How many positions a query sees at most, its own included; also what the cache keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Whether the four projections have biases.
    #[serde(default = "on")]
    pub bias: bool,
}

fn rope_base() -> f64 {
    10_000.0
}

/// Keys and values of the positions seen so far, per batch element: `[positions, kv_dim]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct KvCache {
    /// Positions that were seen, those no longer kept included.
    seen: usize,
    samples: Vec<KeyValues>,
}

impl MhaSpec {
    fn kv_heads(&self) -> usize {
        self.num_kv_heads.unwrap_or(self.num_heads)
    }

    fn head(&self) -> usize {
        self.head_dim.unwrap_or(self.d_model / self.num_heads.max(1))
    }

    fn query_dim(&self) -> usize {
        self.num_heads.saturating_mul(self.head())
    }

    fn kv_dim(&self) -> usize {
        self.kv_heads().saturating_mul(self.head())
    }

    /// Batch elements and positions of an input.
    fn layout(&self, layer: &Layer, shape: &[usize]) -> Result<(usize, usize)> {
        let seq = match shape {
            [.., seq, d] if *d == self.d_model => *seq,
            _ => self.seq_length.unwrap_or(1),
        };
        Ok((layer.units(shape, "sequences", &[seq, self.d_model])?, seq))
    }
}

impl Family for MhaSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        positive(&[
            ("d_model", self.d_model),
            ("num_heads", self.num_heads),
            ("num_kv_heads", self.kv_heads()),
            ("head_dim", self.head()),
            ("seq_length", self.seq_length.unwrap_or(1)),
            ("window", self.window.unwrap_or(1)),
        ])?;
        if !self.num_heads.is_multiple_of(self.kv_heads()) {
            return Err(ConfigError::Heads { heads: self.num_heads, kv_heads: self.kv_heads() });
        }
        if self.head_dim.is_none() && !self.d_model.is_multiple_of(self.num_heads) {
            return Err(ConfigError::HeadWidth { d_model: self.d_model, heads: self.num_heads });
        }
        if let (Some(window), false) = (self.window, self.causal) {
            return Err(ConfigError::Window { window });
        }
        if !(self.rope_base.is_finite() && self.rope_base >= 1.0) {
            let (field, found) = ("rope_base", self.rope_base);
            return Err(ConfigError::Number { field, found, expected: "a number of at least 1" });
        }
        let seq = self.seq_length.unwrap_or(1);
        holdable("heads", &[self.num_heads, self.head()])?;
        holdable("a sequence", &[seq, self.d_model.max(self.query_dim())])?;
        check_eps(self.eps)
    }

    fn with_defaults(&self) -> Self {
        Self { num_kv_heads: Some(self.kv_heads()), head_dim: Some(self.head()), ..self.clone() }
    }

    fn roles(&self) -> Vec<RoleShape> {
        let (d, q, kv) = (self.d_model, self.query_dim(), self.kv_dim());
        let mut roles = vec![
            RoleShape::new(Role::QWeight, [q, d]),
            RoleShape::new(Role::KWeight, [kv, d]),
            RoleShape::new(Role::VWeight, [kv, d]),
            RoleShape::new(Role::OWeight, [d, q]),
        ];
        if self.bias {
            let biases = [(Role::QBias, q), (Role::KBias, kv), (Role::VBias, kv), (Role::OBias, d)];
            roles.extend(biases.map(|(role, n)| RoleShape::new(role, [n])));
        }
        match self.qk_norm {
            QkNorm::None => {}
            QkNorm::Shared => {
                roles.extend([Role::QNorm, Role::KNorm].map(|role| RoleShape::new(role, [self.head()])));
            }
            QkNorm::PerHead => {
                roles.push(RoleShape::new(Role::QNorm, [q]));
                roles.push(RoleShape::new(Role::KNorm, [kv]));
            }
        }
        roles
    }

    fn terms(&self) -> usize {
        let linear = self.d_model.saturating_add(self.query_dim()).saturating_add(self.head());
        linear.saturating_mul(2).saturating_add(self.seq_length.unwrap_or(1).saturating_mul(3))
    }

    fn makes(&self, shape: &[usize]) -> usize {
        let rows = elements(shape).div_ceil(self.d_model);
        let seq = match shape {
            [.., seq, d] if *d == self.d_model => *seq,
            _ => self.seq_length.unwrap_or(1),
        };
        // Queries and what is mixed, keys and values; the scores of the heads that run at a time.
        let widths = self.query_dim().saturating_add(self.kv_dim()).saturating_mul(3).saturating_add(self.d_model);
        let at_a_time = rayon::current_num_threads().min(self.num_heads.saturating_mul(rows));
        elements(&[rows, widths]).saturating_add(elements(&[seq, seq, at_a_time]))
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let (d, e, width) = (self.d_model, self.head(), self.kv_dim());
        let (batch, seq) = self.layout(layer, x.shape())?;
        if x.is_empty() {
            return Ok(x.clone());
        }
        let continues = |cache: &KvCache| self.causal && seq == 1 && cache.samples.len() == batch;
        let visit = run.visits.entry(layer.site).and_modify(|n| *n += 1).or_insert(0);
        let place = (layer.site, *visit);
        let mut cache = run.state.caches.remove(&place).filter(continues).unwrap_or_default();
        cache.samples.resize_with(batch, KeyValues::default);

        let table = self.rotations(cache.seen, seq);
        let mut q = layer.linear(&run.cpu, x.data(), d, Role::QWeight, Role::QBias);
        let mut k = layer.linear(&run.cpu, x.data(), d, Role::KWeight, Role::KBias);
        let v = layer.linear(&run.cpu, x.data(), d, Role::VWeight, Role::VBias);
        self.place(&mut q, self.num_heads, &layer.vector(Role::QNorm), seq, &table);
        self.place(&mut k, self.kv_heads(), &layer.vector(Role::KNorm), seq, &table);
        for (b, sample) in cache.samples.iter_mut().enumerate() {
            sample.k.extend_from_slice(&k[b * seq * width..][..seq * width]);
            sample.v.extend_from_slice(&v[b * seq * width..][..seq * width]);
        }

        let past = cache.samples[0].k.len() / width - seq;
        let group = self.num_heads / self.kv_heads();
        let cpu = run.cpu.single();
        let heads = run.cpu.map(batch * self.num_heads, |i| {
            let (b, h) = (i / self.num_heads, i % self.num_heads);
            let q = &q[b * seq * self.query_dim() + h * e..];
            self.attend(&cpu, q, seq, &cache.samples[b], past, h / group)
        });
        let mut mixed = vec![0.0; batch * seq * self.query_dim()];
        for (i, head) in heads.iter().enumerate() {
            let (b, h) = (i / self.num_heads, i % self.num_heads);
            for (s, row) in head.chunks_exact(e).enumerate() {
                mixed[(b * seq + s) * self.query_dim() + h * e..][..e].copy_from_slice(row);
            }
        }
        let y = layer.linear(&run.cpu, &mixed, self.query_dim(), Role::OWeight, Role::OBias);

        if self.causal {
            cache.seen += seq;
            let keep = self.window.unwrap_or(usize::MAX).saturating_mul(width);
            for KeyValues { k, v } in &mut cache.samples {
                k.drain(..k.len().saturating_sub(keep));
                v.drain(..v.len().saturating_sub(keep));
            }
            run.state.caches.insert(place, cache);
        }
        let keeps_shape = x.shape().last() == Some(&d);
        Ok(Tensor::of(if keeps_shape { x.shape().to_vec() } else { vec![batch, seq, d] }, y))
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        if x.len() == 0 {
            return Ok(x.clone());
        }
        let (heads, kv_heads, e) = (self.num_heads, self.kv_heads(), self.head());
        let (batch, seq) = self.layout(layer, &x.shape)?;
        let visit = recorder.tape.visits.entry(layer.site).and_modify(|n| *n += 1).or_insert(0);
        let place = (layer.site, *visit);
        let cached = recorder.tape.cache(place);
        let continues = self.causal && seq == 1 && cached.batch == batch;
        let CacheShape { positions: past, seen, .. } = if continues { cached } else { CacheShape::default() };

        let table = self.rotations(seen, seq);
        let turns: Vec<u32> = table.iter().flat_map(|&(cos, sin)| [cos.to_bits(), sin.to_bits()]).collect();
        let table = if turns.is_empty() { NONE } else { recorder.tape.constant(turns) };
        let positions = past + seq;
        recorder.within(layer, positions.saturating_mul(3).max(e.saturating_mul(4)))?;
        let width = self.kv_dim();
        let [eps_low, eps_high] = recorder.tape.real(self.eps);
        let mut placed = |role: Role, bias: Role, norm: Option<Role>, heads: usize, past: usize| -> Result<u32> {
            let rows = recorder.linear(layer, x, role, bias, Activation::Linear)?;
            let gain = norm.map_or(Ok(NONE), |norm| recorder.vector(layer, norm))?;
            let step = if self.qk_norm == QkNorm::PerHead { e } else { 0 };
            let there = past + seq;
            let to = recorder.tape.reserve(batch * there * heads * e);
            let turns = if norm.is_some() { table } else { NONE };
            let [heads_, e, step, seq, there, past] = [heads, e, step, seq, there, past].map(|n| n as u32);
            let numbers = [rows.at, to, heads_, e, gain, step, eps_low, eps_high, turns, seq, there, past];
            recorder.tape.op(PLACE, batch * seq as usize * heads, numbers);
            Ok(to)
        };
        let q = placed(Role::QWeight, Role::QBias, Some(Role::QNorm), heads, 0)?;
        let k = placed(Role::KWeight, Role::KBias, Some(Role::KNorm), kv_heads, past)?;
        let v = placed(Role::VWeight, Role::VBias, None, kv_heads, past)?;
        if past > 0 {
            recorder.tape.restore(place, [k, v], positions * width);
        }

        let scores = recorder.tape.reserve(batch * heads * seq * positions);
        let mixed = recorder.tape.array(vec![batch * seq, self.query_dim()]);
        let [low, high] = recorder.tape.real((e as f64).sqrt());
        let [past_, window] = [past, self.window.unwrap_or(0)].map(|n| n as u32);
        let causal = u32::from(self.causal);
        let [h, kv, e, s, p] = [heads, kv_heads, e, seq, positions].map(|n| n as u32);
        recorder.tape.op(SCORES, batch * heads * seq * positions, [q, k, scores, h, kv, e, s, p, low, high]);
        recorder.tape.op(SOFTMAX, batch * heads * seq, [scores, s, p, causal, past_, window]);
        let quads = self.head().div_ceil(4);
        recorder.tape.op(
            MIX,
            batch * seq * heads * quads,
            [scores, v, mixed.at, h, kv, e, s, p, causal, past_, window],
        );
        let y = recorder.linear(layer, &mixed, Role::OWeight, Role::OBias, Activation::Linear)?;

        if self.causal {
            let kept = positions.min(self.window.unwrap_or(usize::MAX));
            let first = ((positions - kept) * width) as u32;
            let shape = CacheShape { batch, positions: kept, width, seen: seen + seq };
            recorder.tape.keep(place, shape, [k + first, v + first], positions * width);
        }
        let keeps_shape = x.shape.last() == Some(&self.d_model);
        Ok(y.reshaped(if keeps_shape { x.shape.clone() } else { vec![batch, seq, self.d_model] }))
    }
}
