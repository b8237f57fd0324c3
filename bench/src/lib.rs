//! How fast we are beside named rivals: the matrix kernel, GPUs, checkpoints, and a call of `loom-stream`.
//!
//! Ours and a rival's work are timed in turn, pair by pair, so that a ratio holds while the machine's speed
//! drifts; medians are shown. Nothing here judges: speed has no verdict.
//!
//! [`io`] and [`stream`] measure memory in a process of its own: they start the program that they are part of with
//! `bench io --job …` and `bench stream --job …`, which call [`io::job`] and [`stream::job`].

#[cfg(feature = "gpu")]
pub mod gpu;
pub mod io;
pub mod kernels;
mod rivals;
pub mod stream;

use comfy_table::{Table, presets};
use loom_core::SplitMix64;

/// A table with lines.
#[must_use]
pub fn table(headers: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(headers.to_vec());
    table
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The next number from -0.5 to 0.5, without a pattern that a cache or a compressor could like.
pub(crate) fn centred(random: &mut SplitMix64) -> f32 {
    (random.unit() - 0.5) as f32
}

/// Numbers from -1 to 1.
pub(crate) fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix64(seed);
    (0..n).map(|_| 2.0 * centred(&mut random)).collect()
}
