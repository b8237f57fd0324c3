//! The seven-layer suites: what each stack takes in memory and in every checkpoint format.
//!
//! `manifests/lucy.yaml` declares stacks and published figures; [`measure`] builds each stack from
//! seeded weights, stores it in every dtype under the `loom` profile, and counts bytes;
//! [`crate::render::sizes`] makes `reports/sizes.md` of it. Nothing is timed: same manifest, same bytes.

use anyhow::{Context as _, bail};
use loom_bedrocks::build;
use loom_core::format::{Checkpoint, FORMATS, Format, OnLoss};
use loom_core::{
    Cpu, Dtype, Network, Numerics, SplitMix64, State, Storage, Tensor, Vectors, WeightStore, WeightTable, Weights,
};
use rayon::prelude::*;

use crate::stages::manifest::lucy::{Lucy, Row, Suite};

/// What one stack takes in one dtype, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Weights.
    pub weights: usize,
    /// Their packed codes, as one array for each layer.
    pub native: u64,
    /// Packed codes of every role, with input and output of the layer where those are largest.
    pub peak: u64,
    /// On a GPU: packed codes, all other arrays of a run, the peak. Nothing in builds without GPUs.
    pub device: Option<[u64; 3]>,
    /// JSON, version 1, version 2, version 2 with zstd: in the order of [`FORMATS`].
    pub files: [u64; 4],
}

impl Sizes {
    /// How much smaller version 1 is than JSON, in percent.
    #[must_use]
    pub fn saving(&self) -> f64 {
        100.0 * (1.0 - self.files[1] as f64 / self.files[0] as f64)
    }
}

/// A stack with its seeded weights.
fn build(suite: &Suite, lucy: &Lucy, index: usize) -> loom_core::Result<Network> {
    let spec = suite.network();
    let mut random = SplitMix64(lucy.seed.wrapping_add((index as u64) << 32));
    let mut table = WeightTable::new();
    for (path, layer) in build::layers(&spec) {
        let mut weights = Weights::new();
        for role in layer.roles() {
            let n = role.shape.iter().product();
            // Uniform in [-amplitude, amplitude), on a grid that f32 holds.
            let unit = |random: &mut SplitMix64| (random.bits() >> 40) as f32 / (1u64 << 24) as f32;
            let values = (0..n).map(|_| (2.0 * unit(&mut random) - 1.0) * lucy.amplitude).collect();
            weights.insert(role.role, WeightStore::f32(role.shape, values)?);
        }
        if !weights.is_empty() {
            table.insert(path, weights);
        }
    }
    Network::build(spec, &mut table)
}

/// `0.2 sin(0.11 i + 0.3)`, or ids that count up.
fn input(suite: &Suite) -> loom_core::Result<Tensor> {
    let n: usize = suite.input.iter().product();
    let value = |i: usize| match suite.ids {
        Some(ids) => (i % ids) as f32,
        None => (0.2 * loom_core::math::sin_cos(0.11 * i as f64 + 0.3).0) as f32,
    };
    Tensor::new(suite.input.clone(), (0..n).map(value).collect())
}

/// The sizes of every suite in every dtype, in the order of the manifest.
///
/// # Errors
/// With the suite, when it cannot be built, run or written, or has another
/// number of weights than the manifest says.
pub fn measure(lucy: &Lucy, done: &(dyn Fn() + Sync)) -> anyhow::Result<Vec<Vec<Sizes>>> {
    let suite = |(index, suite): (usize, &Suite)| {
        let sizes = || -> anyhow::Result<Vec<Sizes>> {
            let network = build(suite, lucy, index)?;
            let found: usize = network.stores().iter().map(|(.., store)| store.len()).sum();
            if found != suite.weights {
                bail!("has {found} weights; the manifest says {}", suite.weights);
            }
            let mut state = State::default();
            let input = input(suite)?;
            network.run(std::slice::from_ref(&input), &mut state, &Cpu::best())?;
            let mut checkpoint = Checkpoint::of(&network)?;
            checkpoint.set_tile_size(lucy.tile_size);
            let rows = lucy.dtypes.par_iter().map(|row| {
                let sizes = of_row(&checkpoint, row, found, 4 * state.widest() as u64, &input);
                done();
                sizes.with_context(|| row.name.clone())
            });
            rows.collect()
        };
        sizes().with_context(|| format!("manifests/lucy.yaml: {}", suite.id))
    };
    lucy.suites.iter().enumerate().map(suite).collect()
}

fn of_row(
    checkpoint: &Checkpoint,
    row: &Row,
    weights: usize,
    activations: u64,
    _input: &Tensor,
) -> anyhow::Result<Sizes> {
    let dtype = Dtype::find(&row.dtype).context("no such dtype")?;
    let storage = Storage { dtype, numerics: Numerics::Loom, vectors: Vectors::Stored };
    let stored = checkpoint.morphed_at(&storage, row.scale)?;
    let mut sizes = Sizes { weights, ..Sizes::default() };
    for (&format, size) in FORMATS.iter().zip(&mut sizes.files) {
        let bytes = stored.to_bytes(format, OnLoss::Refuse).with_context(|| format.to_string())?;
        *size = bytes.len() as u64;
        if format == Format::V1 {
            let header = bytes[12..20].iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
            sizes.native = *size - 20 - header;
        }
    }
    let network = stored.network()?;
    sizes.peak = activations + network.stores().iter().map(|(.., store)| store.bytes().len() as u64).sum::<u64>();
    #[cfg(feature = "gpu")]
    {
        let input = std::slice::from_ref(_input);
        let found = loom_core::footprint(&network, input)?;
        sizes.device = Some([found.weights, found.activations, found.peak]);
    }
    Ok(sizes)
}
