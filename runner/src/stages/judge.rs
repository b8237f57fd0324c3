//! The opinion: an observation and the case's band and rules become a verdict.

use serde::{Deserialize, Serialize};

use super::bounds::DECODED;
use super::compare::{Comparison, WorstWeight};
use super::manifest::{Expect, Outcome, Reference};
use super::observation::{Fidelity, Observation, Roundtrip};
use super::plan::{Case, Kind, Tolerance};

/// The label shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Label {
    /// Every number equal (-0 equals 0); in kernel and snapshot cases, every bit.
    Exact,
    /// Within the band.
    Pass,
    /// Failed as a rule said it would.
    Xfail,
    /// Not run, for a stated reason.
    Skip,
    /// Computed right, but nothing can be said of what it costs: neither green nor red.
    #[serde(rename = "NOT JUDGED")]
    Unjudged,
    /// Outside the band.
    Diff,
    /// Passed although a rule says it fails.
    Xpass,
    /// Two runs gave other bits.
    Unstable,
    /// NaN or infinity on one side.
    Nonfinite,
    /// Another shape.
    Shape,
    /// Nothing to compare.
    Empty,
    /// Could not be run.
    Error,
}

impl Label {
    /// Whether it turns the run red.
    #[must_use]
    pub fn is_red(self) -> bool {
        !matches!(self, Label::Exact | Label::Pass | Label::Xfail | Label::Skip | Label::Unjudged)
    }

    /// The name shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Label::Exact => "EXACT",
            Label::Pass => "PASS",
            Label::Xfail => "XFAIL",
            Label::Skip => "SKIP",
            Label::Unjudged => "NOT JUDGED",
            Label::Diff => "DIFF",
            Label::Xpass => "XPASS",
            Label::Unstable => "UNSTABLE",
            Label::Nonfinite => "NONFINITE",
            Label::Shape => "SHAPE",
            Label::Empty => "EMPTY",
            Label::Error => "ERROR",
        }
    }
}

/// A case's label, and why where that is not plain.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The label.
    pub label: Label,
    /// The reason, for people.
    pub reason: Option<String>,
}

/// Judges one case.
#[must_use]
pub fn judge(case: &Case, observation: &Observation) -> Verdict {
    let (label, reason) = match (observation, case.kind) {
        (Observation::Fidelity(seen), Kind::Fidelity) => fidelity(seen),
        _ => plain(&case.tolerance(), observation),
    };
    match &case.expect {
        Some(rule) => expected(rule, observation, label, reason),
        None => Verdict { label, reason },
    }
}

/// The label without regard to expected failures.
fn plain(tolerance: &Tolerance, observation: &Observation) -> (Label, Option<String>) {
    match observation {
        Observation::Skipped(why) => (Label::Skip, Some(why.clone())),
        Observation::Failed(why) => (Label::Error, Some(why.clone())),
        Observation::Unstable(what) => (Label::Unstable, Some(what.clone())),
        Observation::Shape(ours, expected) => (Label::Shape, Some(format!("ours is {ours:?}, expected {expected:?}"))),
        Observation::Digest(ours, blessed) if ours == blessed => (Label::Exact, None),
        Observation::Digest(ours, blessed) => {
            let why = format!(
                "our output has digest {ours}, blessed is {blessed}; if the change is meant, run `bedrock bless --core --accept \"<why>\"`"
            );
            (Label::Diff, Some(why))
        }
        Observation::Roundtrip(Roundtrip { broken: Some(what), .. }) => (Label::Diff, Some(what.clone())),
        Observation::Roundtrip(Roundtrip { broken: None, .. }) => (Label::Exact, None),
        Observation::Fidelity(_) => (Label::Error, Some("a fidelity observation of another check".into())),
        Observation::Path(path, c) => match plain(tolerance, &Observation::Compared(c.clone())) {
            (label, reason) if !label.is_red() => (label, reason),
            (label, reason) => {
                let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
                (label, Some(format!("{path} differs from the CPU's reference{reason}")))
            }
        },
        Observation::Compared(c) if c.shape.contains(&0) => {
            (Label::Empty, Some(format!("shape {:?} holds nothing to compare", c.shape)))
        }
        Observation::Compared(c) if c.nonfinite.is_some() => (Label::Nonfinite, None),
        // Equal to the planet's float64 after rounding is not equal to its float32 bits.
        Observation::Compared(c) if c.exact && tolerance.reference == Reference::Float32 => (Label::Exact, None),
        // Written so that a NaN anywhere fails.
        Observation::Compared(c) if c.excess <= 1.0 && tolerance.nmse.is_none_or(|bound| c.nmse <= bound) => {
            (Label::Pass, None)
        }
        Observation::Compared(_) => (Label::Diff, None),
    }
}

impl Fidelity {
    /// Whether every stored weight is within its codec's bound of the original. Written so that
    /// a NaN fails.
    #[must_use]
    pub(crate) fn weights_are_bounded(&self) -> bool {
        self.weight.as_ref().is_none_or(|worst| matches!(worst.excess, 0.0..=1.0))
    }

    /// Whether the output is that of the decoded weights. Written so that a NaN fails.
    #[must_use]
    pub(crate) fn is_computed_right(&self) -> bool {
        matches!(self.decoded.nmse, 0.0..=DECODED)
    }

    /// Whether every weight is stored as its type's rule says.
    fn is_stored_right(&self) -> bool {
        self.scale.is_none() && self.weights_are_bounded()
    }
}

/// Judges a dtype: stored by its rule, computed as its decoded weights compute, and within what it costs.
fn fidelity(seen: &Fidelity) -> (Label, Option<String>) {
    for compared in [&seen.decoded, &seen.output] {
        match plain(&Tolerance::EXACT, &Observation::Compared(compared.clone())) {
            (Label::Exact | Label::Diff, _) => {}
            other => return other,
        }
    }
    if let Some(what) = &seen.scale {
        return (Label::Diff, Some(what.clone()));
    }
    if let Some(worst) = seen.weight.as_ref().filter(|_| !seen.weights_are_bounded()) {
        let WorstWeight { place, index, weight, stored, excess } = worst;
        let why = format!("{place}[{index}] is {weight:e}, stored as {stored:e}: {excess:.3} times its codec's bound");
        return (Label::Diff, Some(why));
    }
    let (output, decoded) = (&seen.output, &seen.decoded);
    if !seen.is_computed_right() {
        let why = format!("computed wrong: NMSE {:.3e} beside its own decoded weights in f32", decoded.nmse);
        return (Label::Diff, Some(why));
    }
    match seen.cost.bound() {
        _ if output.exact => (Label::Exact, None),
        None => {
            let met: Vec<&str> = seen.cost.met.iter().map(|wrong| wrong.name()).collect();
            (Label::Unjudged, Some(format!("{} would cost no more", met.join(", "))))
        }
        Some(bound) if output.nmse <= bound => (Label::Pass, None),
        Some(bound) => {
            let why = format!("costs NMSE {:.3e}; seeds of this model allow {bound:.3e}", output.nmse);
            (Label::Diff, Some(why))
        }
    }
}

fn expected(rule: &Expect, observation: &Observation, label: Label, reason: Option<String>) -> Verdict {
    let because = || {
        Some(match rule.issue {
            Some(issue) => format!("{} (issue {issue})", rule.because),
            None => rule.because.clone(),
        })
    };
    let outside = |what: String| Verdict { label, reason: Some(what) };
    match (rule.outcome, label) {
        (_, Label::Skip) => Verdict { label, reason },
        (Outcome::Flaky, Label::Exact | Label::Pass | Label::Unjudged) => Verdict { label, reason },
        (_, Label::Exact | Label::Pass | Label::Unjudged) => Verdict {
            label: Label::Xpass,
            reason: Some(format!("expected to fail ({}); remove the rule", rule.because)),
        },
        (Outcome::Diff | Outcome::Flaky, Label::Diff) => match (rule.pin, observation) {
            // A weight that its codec does not explain is no known difference, nor is a wrong product.
            (_, Observation::Fidelity(seen)) if !seen.is_stored_right() || !seen.is_computed_right() => {
                Verdict { label, reason }
            }
            (Some(pin), seen)
                if compared(seen).is_some_and(|c| !(pin.max_abs[0]..=pin.max_abs[1]).contains(&c.max_abs)) =>
            {
                let differs = compared(seen).map_or(0.0, |c| c.max_abs);
                let [least, most] = pin.max_abs;
                outside(format!("expected to differ by {least:e} to {most:e}, but differs by {differs:e}"))
            }
            _ => Verdict { label: Label::Xfail, reason: because() },
        },
        (Outcome::Error, Label::Error) => match (&rule.error_contains, &reason) {
            (Some(part), Some(text)) if !text.contains(part) => {
                outside(format!("expected an error with {part:?}, but: {text}"))
            }
            _ => Verdict { label: Label::Xfail, reason: because() },
        },
        _ => Verdict { label, reason },
    }
}

/// What an observation compared with its reference.
fn compared(observation: &Observation) -> Option<&Comparison> {
    match observation {
        Observation::Compared(c) | Observation::Path(_, c) => Some(c),
        Observation::Fidelity(seen) => Some(&seen.output),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::compare::compare;
    use crate::stages::manifest::{Match, Pin};
    use crate::stages::plan::BandSource;

    const BAND: Tolerance =
        Tolerance { atol: 0.1, rtol: 0.0, nmse: None, reference: Reference::Float32, source: BandSource::Bedrock };

    fn seen(ours: f32) -> Observation {
        Observation::Compared(compare(&[2], &[1.0, ours], &[1.0, 2.0], None, &BAND))
    }

    fn rule(outcome: Outcome) -> Expect {
        let (because, issue) = ("a known fault".to_string(), Some(7));
        Expect { r#match: Match::default(), outcome, because, issue, pin: None, error_contains: None }
    }

    fn with(rule: &Expect, observation: &Observation) -> Label {
        let (label, reason) = plain(&BAND, observation);
        expected(rule, observation, label, reason).label
    }

    #[test]
    fn labels_without_rules() {
        let label = |observation: &Observation| plain(&BAND, observation).0;
        assert_eq!(label(&seen(2.0)), Label::Exact);
        assert_eq!(label(&seen(2.05)), Label::Pass);
        assert_eq!(label(&seen(2.2)), Label::Diff);
        assert_eq!(label(&seen(f32::NAN)), Label::Nonfinite);
        assert_eq!(label(&seen(f32::INFINITY)), Label::Nonfinite);
        assert_eq!(label(&Observation::Compared(compare(&[0, 4], &[], &[], None, &BAND))), Label::Empty);
        let by_nmse = Tolerance { nmse: Some(1e-6), ..BAND };
        assert_eq!(plain(&by_nmse, &seen(2.05)).0, Label::Diff);
        for broken in [f64::NAN, -1.0] {
            assert_eq!(
                plain(
                    &BAND,
                    &Observation::Compared(compare(&[1], &[1.0], &[2.0], None, &Tolerance { atol: broken, ..BAND }))
                )
                .0,
                Label::Diff
            );
        }
    }

    #[test]
    fn expected_failures() {
        assert_eq!(with(&rule(Outcome::Diff), &seen(2.5)), Label::Xfail);
        assert_eq!(with(&rule(Outcome::Diff), &seen(2.05)), Label::Xpass);
        assert_eq!(with(&rule(Outcome::Diff), &seen(f32::NAN)), Label::Nonfinite);
        assert_eq!(with(&rule(Outcome::Flaky), &seen(2.05)), Label::Pass);
        assert_eq!(with(&rule(Outcome::Flaky), &seen(2.5)), Label::Xfail);
        let pinned = Expect { pin: Some(Pin { max_abs: [0.4, 0.6] }), ..rule(Outcome::Diff) };
        assert_eq!(with(&pinned, &seen(2.5)), Label::Xfail);
        assert_eq!(with(&pinned, &seen(2.9)), Label::Diff);
        let worded = Expect { error_contains: Some("needs [4]".into()), ..rule(Outcome::Error) };
        assert_eq!(with(&worded, &Observation::Failed("shape [5]; needs [4]".into())), Label::Xfail);
        assert_eq!(with(&worded, &Observation::Failed("something else".into())), Label::Error);
        assert_eq!(with(&worded, &seen(2.5)), Label::Diff);
    }
}
