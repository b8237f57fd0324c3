//! One case in full: how the manifests resolve it, and what it showed.

use std::fmt::Write as _;

use loom_core::{Numerics, Vectors};

use crate::stages::bounds::{DECODED, MARGIN, SEEDS};
use crate::stages::compare::{Comparison, WorstWeight};
use crate::stages::judge::Verdict;
use crate::stages::observation::{Fidelity, Observation};
use crate::stages::plan::{BandSource, Case, Check, Tolerance};

/// Everything about one red case, or one that is explained.
#[must_use]
pub fn detail(case: &Case, observation: &Observation, verdict: &Verdict, rerun: &str) -> String {
    let mut text = format!("{} {}\n", verdict.label.name(), case.id);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    if let Some(reason) = &verdict.reason {
        line("why", reason.clone());
    }
    match observation {
        Observation::Fidelity(seen) => fidelity(seen, &mut line),
        Observation::Compared(c) | Observation::Path(_, c) => compared(c, &case.tolerance(), &mut line),
        _ => {}
    }
    line("band", format!("{} ({})", case.band(), source(case)));
    line("again", rerun.into());
    text
}

/// What a dtype's observation says, line by line.
fn fidelity(seen: &Fidelity, line: &mut dyn FnMut(&str, String)) {
    let Comparison { shape, nmse, max_abs, .. } = &seen.output;
    line(
        "compared",
        format!("{} elements of shape {shape:?} with the same network in f32", shape.iter().product::<usize>()),
    );
    line("output", format!("NMSE {nmse:.3e}, cosine {:.6}, largest |Δ| {max_abs:.3e}", seen.cosine));
    if let Some(WorstWeight { place, index, weight, stored, excess }) = &seen.weight {
        let text = format!("{place}[{index}] is {weight:e}, stored as {stored:e}: {excess:.3} of its codec's bound");
        line("weights", format!("worst: {text}"));
    }
    if let Some(bits) = seen.bits {
        line("bits", format!("{bits:.3} for each weight, scales not counted"));
    }
    line("computed", format!("NMSE {:.3e} beside its decoded weights in f32, at most {DECODED:e}", seen.decoded.nmse));
    line("seeds", format!("the worst of {SEEDS} costs NMSE {:.3e}", seen.cost.seen));
    match seen.cost.bound() {
        Some(bound) => line("bound", format!("NMSE ≤ {bound:.3e}")),
        None => line("bound", format!("not judged: {:.3e} would let other networks pass", MARGIN * seen.cost.seen)),
    }
}

/// What the comparison of two arrays says, line by line.
fn compared(c: &Comparison, tolerance: &Tolerance, line: &mut dyn FnMut(&str, String)) {
    let elements: usize = c.shape.iter().product();
    line("compared", format!("{elements} elements of shape {:?}", c.shape));
    if let Some(point) = c.nonfinite.or(c.worst) {
        let place = unravel(point.index, &c.shape);
        line(
            "worst at",
            format!(
                "{place:?} (flat {}): ours {:?}, expected {:?}",
                point.index, point.ours as f32, point.expected as f32
            ),
        );
    }
    line(
        "largest",
        format!(
            "|Δ| {:.3e}, relative {:.3e}, {} ULP (each over all elements); NMSE {:.3e}",
            c.max_abs, c.max_rel, c.max_ulp, c.nmse
        ),
    );
    if let (Some(planet), Some(ours)) = (c.planet_error, c.our_error) {
        let whose = match (planet, ours) {
            (p, o) if o > 3.0 * p => "the error is ours, or the model is not the planet's",
            (p, o) if p > 3.0 * o => "the error is the planet's float32",
            _ => "both err alike",
        };
        line("whose", format!("|planet − f64| {planet:.3e}, |ours − f64| {ours:.3e}: {whose}"));
    }
    if c.outliers > 0 && tolerance.source != BandSource::Exact {
        line("outside", format!("{} of {elements} elements", c.outliers));
    }
    let nmse = tolerance.nmse.filter(|bound| c.nmse > *bound).map(|_| format!("nmse {:.3e}", c.nmse));
    let atol = (c.outliers > 0).then(|| format!("atol {:.3e}", c.needed_atol.max(0.0)));
    let needed: Vec<String> = atol.into_iter().chain(nmse).collect();
    if !needed.is_empty() && tolerance.source != BandSource::Exact {
        line("would pass", format!("{} with the rest of the band as it is", needed.join(" and ")));
    }
}

fn source(case: &Case) -> String {
    let bedrock = &case.manifest.bedrock;
    match case.tolerance().source {
        BandSource::Override => format!("override of the model in manifests/{bedrock}.yaml"),
        BandSource::Bedrock => format!("bands of manifests/{bedrock}.yaml"),
        BandSource::Defaults => "manifests/_defaults.yaml".into(),
        BandSource::Ulps(_) => "--ulp of the call".into(),
        BandSource::Exact if case.check() == Check::Fidelity => {
            "runner/src/cost.rs, golden/".to_string() + &case.manifest.bedrock + "/cost.yaml"
        }
        BandSource::Exact => "this check takes no tolerance".into(),
    }
}

/// Position on every axis of a flat index.
fn unravel(index: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = index;
    let mut place: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&n| {
            let at = rest % n.max(1);
            rest /= n.max(1);
            at
        })
        .collect();
    place.reverse();
    place
}

/// A case as the manifests resolve it.
#[must_use]
pub fn explain(case: &Case) -> String {
    let (model, bedrock) = (case.model(), &case.manifest.bedrock);
    let mut text = format!("{}\n", case.id);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    line(
        "check",
        match case.check() {
            Check::Parity => {
                let precision = if case.against_float64() { "float64, rounded to float32," } else { "float32" };
                format!("parity: what {} computed in {precision} against our CPU", case.planet.title)
            }
            Check::Fidelity => format!("fidelity: weights in {} against the same network in f32", case.stored),
            Check::Kernel => match &case.device {
                None => "kernel: every fast path against the scalar single core, bit for bit".into(),
                Some(device) => format!("kernel: {} ({}) against our CPU", device.adapter, device.driver),
            },
            Check::Snapshot => "snapshot: our bits against the last blessed digest".into(),
            Check::Roundtrip => "roundtrip: written in every checkpoint format, read, written and run again".into(),
        },
    );
    line("manifest", format!("manifests/{bedrock}.yaml:{}", model.id.referenced.line()));
    for input in &model.inputs {
        let take = if input.take.is_empty() {
            "all of it".into()
        } else {
            format!("first {:?} after the batch axis", input.take)
        };
        line("input", format!("golden/{bedrock}/fixture.npz: {}, {take}", input.array));
    }
    line("arrays", format!("golden/{bedrock}/{}/{}.npz", case.planet.id, model.id()));
    line("weights", format!("{:?}", model.weights));
    for (i, layer) in model.layers.iter().enumerate() {
        line(&format!("layer {i}"), serde_json::to_string(layer).unwrap_or_default());
    }
    line("terms", format!("{} rounded terms behind an output element at most", model.terms()));
    let vectors = match (case.stored.numerics, case.manifest.vectors) {
        (Numerics::Loom, _) => "all weights of a layer share one scale",
        (Numerics::Standard, Vectors::Float32) => "each matrix has its scale; gains, shifts and biases stay f32",
        (Numerics::Standard, Vectors::Stored) => "each matrix, gain, shift and bias has its scale",
    };
    line("stored", format!("{}: {vectors}", case.stored));
    line("band", format!("{} ({})", case.band(), source(case)));
    let applies = |glob: &str| glob::Pattern::new(glob).is_ok_and(|glob| glob.matches(case.planet.id));
    for rule in model.overrides.iter().filter(|rule| rule.planet.as_deref().is_none_or(applies)) {
        line("override", rule.why.clone());
    }
    if let Some(rule) = &case.expect {
        line("expect", format!("{:?}: {}", rule.outcome, rule.because));
    }
    text
}
