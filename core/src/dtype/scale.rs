//! What joins codes to weights, and what a scale is chosen from.

use super::Numerics;

/// What joins codes to weights: `weight = (code - zero_point) * scale`, where "code" is the
/// number that the code stands for by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// The step.
    pub scale: f32,
    /// The code of weight 0; 0 in types that do not shift their range.
    pub zero_point: u64,
}

/// What a scale is chosen from: the largest and the mean magnitude of a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Magnitudes {
    max: f64,
    sum: f64,
    count: usize,
}

impl Magnitudes {
    /// Measures weights, summing in their order. A NaN never is the largest.
    pub fn of(weights: impl IntoIterator<Item = f64>) -> Self {
        weights.into_iter().fold(Self::default(), |m, w| Self {
            max: if w.abs() > m.max { w.abs() } else { m.max },
            sum: m.sum + w.abs(),
            count: m.count + 1,
        })
    }

    /// `max / steps`, 1 where the maximum is 0: in single precision, or rounded up to it so
    /// that the largest weight stays in range.
    pub(super) fn max_scale(&self, numerics: Numerics, steps: f64) -> f32 {
        let step = self.max / steps;
        match (numerics, step as f32) {
            _ if self.max == 0.0 => 1.0,
            (Numerics::Loom, _) => self.max as f32 / steps as f32,
            (Numerics::Standard, down) if f64::from(down) < step => down.next_up(),
            (Numerics::Standard, up) => up,
        }
    }

    /// The mean, summed in f64; 1 where it is 0. The original divides in single precision.
    pub(super) fn mean_scale(&self, numerics: Numerics) -> f32 {
        let mean = match numerics {
            _ if self.sum == 0.0 => return 1.0,
            Numerics::Loom => self.sum as f32 / self.count as f32,
            Numerics::Standard => ((self.sum / self.count as f64) as f32).max(f32::from_bits(1)),
        };
        if mean == 0.0 { 1.0 } else { mean }
    }
}
