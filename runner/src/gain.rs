//! How much a network amplifies noise in its weights: the NMSE of its output over the NMSE of
//! random noise that is added to them.
//!
//! Where the terms of a sum cancel, where a recurrence repeats an error, where two noisy
//! factors meet or an activation cuts a signal off, the output is noisier than the weights; a
//! dtype is judged by its own noise times this gain. The noise is uniform, as that of rounding
//! is, and relative to the root mean square of what shares a scale: a store, or under `loom` a
//! layer. It is as strong as a dtype's, to the next of a few levels, because networks are not
//! linear; and the worst of several draws counts, because in a small model the errors of a few
//! weights may well agree in sign.

use std::collections::BTreeMap;

use loom_core::{Layer, Network, Numerics, Result, Role, Storage, Vectors, WeightStore, Weights};

/// How many draws are tried.
pub const DRAWS: u64 = 8;

/// NMSE of the noise that is tried: float types, 8 bits, 4 bits, 2 bits and fewer. The first is
/// far above f32's rounding.
const LEVELS: [f64; 4] = [1e-6, 4e-3, 0.0625, 1.0];

/// The level to measure the gain of a dtype's noise at, as an index.
#[must_use]
pub fn level(noise: f64) -> usize {
    LEVELS.iter().position(|&level| noise <= level).unwrap_or(LEVELS.len() - 1)
}

/// The NMSE of the noise at a level of [`level`].
#[must_use]
pub fn power(level: usize) -> f64 {
    LEVELS[level]
}

/// The network with noise in those weights that `storage` would store in its dtype.
///
/// # Errors
/// Those of [`Network::with_weights`]: none for a network that was built.
pub fn noisy(network: &Network, storage: &Storage, level: usize, draw: u64) -> Result<Network> {
    let mut random = Random(draw.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let amplitude = power(level).sqrt();
    network.with_weights(&mut |layer| noisy_layer(layer, storage, amplitude, &mut random))
}

fn noisy_layer(layer: &Layer, storage: &Storage, amplitude: f64, random: &mut Random) -> Result<Weights> {
    let is_stored = |role: Role| match storage.numerics {
        Numerics::Loom => !loom_core::format::flat::is_apart(role),
        Numerics::Standard => storage.vectors == Vectors::Stored || !role.is_vector(),
    };
    let shared: Vec<&WeightStore> =
        layer.weights().iter().filter(|(role, _)| is_stored(**role)).map(|(_, store)| store).collect();
    let mut weights = BTreeMap::new();
    for (&role, store) in layer.weights() {
        let among = if storage.numerics == Numerics::Loom { &shared[..] } else { &[store][..] };
        let amplitude = if is_stored(role) { amplitude * rms(among) } else { 0.0 };
        let data = store.iter().map(|w| (w + amplitude * random.uniform()) as f32).collect();
        weights.insert(role, WeightStore::f32(store.shape().to_vec(), data)?);
    }
    Ok(weights)
}

fn rms(stores: &[&WeightStore]) -> f64 {
    let squares = stores.iter().flat_map(|store| store.iter()).fold(0.0, |sum, w| sum + w * w);
    let count: usize = stores.iter().map(|store| store.len()).sum();
    (squares / count.max(1) as f64).sqrt()
}

/// A splitmix64 stream.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform with mean 0 and variance 1.
    fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 / (1u64 << 53) as f64 - 0.5) * 12f64.sqrt()
    }
}
