//! The bounds of the fidelity check: how far a packed run may be from that of its own decoded weights, and what
//! storing weights in a dtype may cost a model's output. `runner/src/cost.rs` measures the latter.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest NMSE between a run from packed codes and the f32 run of the same decoded weights. Both sum
/// in f64 and round at the same stages, so that a few roundings of f32 are all that differs.
pub(crate) const DECODED: f64 = 1e-10;

/// How many seeds are measured.
pub(crate) const SEEDS: u64 = 64;

/// How far what is stored may be beyond the worst seed, as NMSE.
pub(crate) const MARGIN: f64 = 2.0;

/// The NMSE of outputs that each differ by their last f32 digit: nothing below is judged.
pub(crate) const FLOOR: f64 = f32::EPSILON as f64 * f32::EPSILON as f64;

/// A network that no bound may let pass: the stored weights, changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// All 0.
    Zeros,
    /// Every sign turned.
    Signs,
    /// Half of each weight.
    Half,
    /// The rows of each matrix, or the elements of each vector, from last to first.
    Rows,
    /// The elements of each row moved by one.
    Columns,
}

impl Wrong {
    /// Every one.
    pub const ALL: [Wrong; 5] = [Wrong::Zeros, Wrong::Signs, Wrong::Half, Wrong::Rows, Wrong::Columns];

    /// The name in files and texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Wrong::Zeros => "zeros",
            Wrong::Signs => "signs",
            Wrong::Half => "half",
            Wrong::Rows => "rows",
            Wrong::Columns => "columns",
        }
    }

    /// Changes the weights of a store of that shape, in row-major order.
    #[must_use]
    pub fn of(self, shape: &[usize], weights: &[f64]) -> Vec<f64> {
        let n = weights.len();
        let row = shape.iter().skip(1).product::<usize>().max(1);
        let rows = n / row;
        match self {
            Wrong::Zeros => vec![0.0; n],
            Wrong::Signs => weights.iter().map(|w| -w).collect(),
            Wrong::Half => weights.iter().map(|w| 0.5 * w).collect(),
            Wrong::Rows => (0..n).map(|i| weights[(rows - 1 - i / row) * row + i % row]).collect(),
            Wrong::Columns => (0..n).map(|i| weights[i / row * row + (i % row + 1) % row]).collect(),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the seeds of one model in one dtype showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cost {
    /// The largest NMSE of all seeds.
    pub seen: f64,
    /// The wrong networks that would meet the bound.
    pub met: Vec<Wrong>,
}

/// A text that is no [`Cost`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no cost; expected an NMSE, or an NMSE and `meets` with names of wrong networks")]
pub struct CostError {
    /// The text.
    pub found: String,
}

impl Cost {
    /// The largest NMSE that passes; none where a wrong network would meet it.
    #[must_use]
    pub(crate) fn bound(&self) -> Option<f64> {
        self.met.is_empty().then_some(self.limit())
    }

    /// The largest NMSE that would pass, were no wrong network to meet it.
    pub(crate) fn limit(&self) -> f64 {
        (MARGIN * self.seen).max(FLOOR)
    }
}

/// `2.41e-7`, or `1.32e0 meets zeros, half`.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3e}", self.seen)?;
        for (i, wrong) in self.met.iter().enumerate() {
            write!(f, "{} {wrong}", if i == 0 { " meets" } else { "," })?;
        }
        Ok(())
    }
}

impl From<Cost> for String {
    fn from(cost: Cost) -> String {
        cost.to_string()
    }
}

impl TryFrom<String> for Cost {
    type Error = CostError;

    fn try_from(text: String) -> Result<Self, CostError> {
        text.parse()
    }
}

impl FromStr for Cost {
    type Err = CostError;

    fn from_str(text: &str) -> Result<Self, CostError> {
        let bad = || CostError { found: text.into() };
        let (seen, met) = text.split_once(" meets ").unwrap_or((text, ""));
        let seen: f64 = seen.parse().map_err(|_| bad())?;
        let named = |name: &str| Wrong::ALL.into_iter().find(|wrong| wrong.name() == name).ok_or_else(bad);
        let met = met.split(", ").filter(|name| !name.is_empty()).map(named).collect::<Result<_, _>>()?;
        if seen.is_finite() && seen >= 0.0 { Ok(Cost { seen, met }) } else { Err(bad()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_as_text() {
        for text in ["2.410e-7", "0.000e0", "1.320e0 meets zeros, half"] {
            assert_eq!(text.parse::<Cost>().expect("a cost").to_string(), text);
        }
        for text in ["", "NaN", "-1e0", "inf", "1e0 meets nothing", "1e0 zeros"] {
            assert!(text.parse::<Cost>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bound_that_zeros_meet_is_none() {
        let cost = |text: &str| text.parse::<Cost>().expect("a cost").bound();
        assert_eq!(cost("2.000e-7"), Some(4e-7));
        assert_eq!(cost("0.000e0"), Some(FLOOR));
        assert_eq!(cost("6.000e-1 meets zeros"), None);
    }

    #[test]
    fn wrong_networks_differ_from_the_right_one() {
        let weights: Vec<f64> = (1..=6).map(f64::from).collect();
        for wrong in Wrong::ALL {
            let changed = wrong.of(&[2, 3], &weights);
            assert_eq!(changed.len(), 6);
            assert_ne!(changed, weights, "{wrong}");
        }
    }
}
