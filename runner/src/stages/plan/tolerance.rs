//! How far an output may be from its reference, in numbers.

use std::fmt;

use crate::stages::manifest::{Band, Reference};

/// The f32 epsilon.
const EPSILON: f64 = f32::EPSILON as f64;

/// A band in numbers, with where it was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Absolute part.
    pub atol: f64,
    /// Relative part, everything included.
    pub rtol: f64,
    /// Bound of the normalised mean squared error, if any.
    pub nmse: Option<f64>,
    /// Which of the planet's results is meant.
    pub reference: Reference,
    /// Where the band stands.
    pub source: BandSource,
}

/// Where a band was found, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BandSource {
    /// An override of the model.
    Override,
    /// The bedrock's manifest.
    Bedrock,
    /// `_defaults.yaml`.
    Defaults,
    /// `--ulp` of the call: a distance in units in the last place of f32, in place of every part.
    Ulps(u64),
    /// None: exact.
    Exact,
}

impl Tolerance {
    /// No tolerance at all.
    pub(crate) const EXACT: Tolerance =
        Tolerance { atol: 0.0, rtol: 0.0, nmse: None, reference: Reference::Float32, source: BandSource::Exact };

    pub(super) fn resolve(band: Band, terms: usize, source: BandSource) -> Self {
        let floor = |rtol: f64| rtol.max(4.0 * EPSILON);
        let rtol = band.rtol.map_or(0.0, floor) + band.ulps_per_term.map_or(0.0, |n| n * terms as f64 * EPSILON);
        Self { atol: band.atol, rtol, nmse: band.nmse, reference: Reference::Float32, source }
    }

    /// `|a - e|` over the largest that passes, or the distance in units in the last place over theirs; at
    /// most 1 passes, and it is infinite where nothing is allowed. The two differ and are finite.
    #[must_use]
    pub(crate) fn excess(&self, ours: f32, expected: f32) -> f64 {
        let (a, e) = (f64::from(ours), f64::from(expected));
        let (distance, allowed) = match self.source {
            BandSource::Ulps(most) => (ulps(ours, expected) as f64, most as f64),
            _ => ((a - e).abs(), self.atol + self.rtol * e.abs()),
        };
        // Written so that a NaN fails.
        if allowed > 0.0 { distance / allowed } else { f64::INFINITY }
    }
}

/// The distance of two floats in representable numbers between them.
#[must_use]
pub(crate) fn ulps(a: f32, b: f32) -> u64 {
    let ordered = |v: f32| {
        let bits = i64::from(v.to_bits() as i32);
        if bits < 0 { i64::from(i32::MIN) - bits } else { bits }
    };
    ordered(a).abs_diff(ordered(b))
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source == BandSource::Exact {
            return write!(f, "exact");
        }
        if let BandSource::Ulps(most) = self.source {
            write!(f, "{most} ULP")?;
        }
        match (self.atol, self.rtol) {
            _ if matches!(self.source, BandSource::Ulps(_)) => {}
            (atol, 0.0) => write!(f, "|Δ| ≤ {atol:e}")?,
            (0.0, rtol) => write!(f, "|Δ| ≤ {rtol:e}·|e|")?,
            (atol, rtol) => write!(f, "|Δ| ≤ {atol:e} + {rtol:e}·|e|")?,
        }
        if let Some(nmse) = self.nmse {
            write!(f, ", NMSE ≤ {nmse:e}")?;
        }
        match self.reference {
            Reference::Float32 => Ok(()),
            Reference::Float64 => write!(f, " of the planet's float64"),
        }
    }
}
