//! The roundtrip check: a network through every checkpoint format and back.
//!
//! For each format: written, read, written again (the same bytes), and run (the same bits).
//! Version 2 must hold every network. Version 1 and JSON hold what the original can; where they
//! cannot, writing must refuse and say what they have no field for.

use loom_core::format::{Checkpoint, FORMATS, Fault, Format, OnLoss, Reading};
use loom_core::{Error, Network, Role, Tensor, WeightStore};

use super::observation::Roundtrip;
use super::planted::Planted;

/// Takes `network`, whose output is `output`, through every format.
///
/// # Errors
/// When the network cannot be made a checkpoint at all.
pub(crate) fn roundtrip(
    network: &Network,
    output: &Tensor,
    planted: &dyn Planted,
    run: &dyn Fn(&Network) -> loom_core::Result<Tensor>,
) -> loom_core::Result<Roundtrip> {
    let checkpoint = Checkpoint::of(network)?;
    let mut seen = Roundtrip::default();
    let mut ran = Vec::new();
    for &format in FORMATS {
        match through(&checkpoint, output, format, planted, run, &mut ran) {
            Ok(()) => seen.held.push(format),
            Err(Broken::Lacks(what)) if !format.is_whole() => seen.lacks = seen.lacks.or(Some(what)),
            Err(Broken::Lacks(what) | Broken::Differs(what)) => {
                seen.broken = seen.broken.or_else(|| Some(format!("{format}: {what}")));
            }
        }
    }
    Ok(seen)
}

enum Broken {
    Lacks(String),
    Differs(String),
}

fn through(
    checkpoint: &Checkpoint,
    output: &Tensor,
    format: Format,
    planted: &dyn Planted,
    run: &dyn Fn(&Network) -> loom_core::Result<Tensor>,
    ran: &mut Vec<Network>,
) -> Result<(), Broken> {
    let differs = |doing: &str, e: Error| Broken::Differs(format!("{doing}: {e}"));
    let mut bytes = checkpoint.to_bytes(format, OnLoss::Refuse).map_err(|e| match e {
        Error::Format { fault: Fault::Loss, what, .. } => Broken::Lacks(what),
        other => differs("writing", other),
    })?;
    planted.file(format, &mut bytes);
    let again = Checkpoint::parse(bytes.clone(), Reading::Strict).map_err(|e| differs("reading", e))?;
    let rewritten = again.to_bytes(format, OnLoss::Refuse).map_err(|e| differs("writing again", e))?;
    if rewritten != bytes {
        let at = rewritten.iter().zip(&bytes).position(|(a, b)| a != b).unwrap_or(rewritten.len().min(bytes.len()));
        let (a, b) = (rewritten.len(), bytes.len());
        return Err(Broken::Differs(format!("written again it differs from byte {at} on ({a} bytes, before {b})")));
    }
    let network = again.network().map_err(|e| differs("building", e))?;
    // What has run with the right bits need not run again.
    if ran.iter().any(|other| equal(other, &network)) {
        return Ok(());
    }
    let y = run(&network).map_err(|e| Broken::Differs(format!("running: {e}")))?;
    let same =
        y.shape() == output.shape() && y.data().iter().zip(output.data()).all(|(a, b)| a.to_bits() == b.to_bits());
    ran.push(network);
    if same { Ok(()) } else { Err(Broken::Differs("its output has other bits".into())) }
}

/// Whether two networks are the same in topology and in every stored bit.
fn equal(a: &Network, b: &Network) -> bool {
    let (left, right) = (a.stores(), b.stores());
    let same = |((p, r, s), (q, t, u)): (&(&str, Role, &WeightStore), &(&str, Role, &WeightStore))| {
        let coded = |store: &WeightStore| (store.dtype(), store.numerics(), store.scales());
        (p, r) == (q, t) && s.shape() == u.shape() && coded(s) == coded(u) && s.bytes() == u.bytes()
    };
    a.spec() == b.spec() && left.len() == right.len() && left.iter().zip(&right).all(same)
}
