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

/// Numbers without a pattern that a cache or a compressor could like: xorshift.
pub(crate) struct Random(u64);

impl Random {
    /// Numbers of a seed, which is not 0.
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from -0.5 to 0.5.
    pub(crate) fn centred(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }
}

/// Numbers from -1 to 1.
pub(crate) fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::of(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (0..n).map(|_| 2.0 * random.centred()).collect()
}
