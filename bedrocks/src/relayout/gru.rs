//! A GRU's arrays: three gates, and where its reset gate acts after the product one bias more than others have.

use loom_core::layers::{GruSpec, Reset};
use loom_core::{LayerKind, LayerSpec, Role, Weights};

use super::{Error, Form, Nd, separate_gates, store, to_loom};
use crate::npz::Arrays;
use crate::planets::{BiasLayout, GateLayout, GruOrder, Planet};

/// The gates in Loom's order.
pub(super) const GATES: [&str; 3] = ["r", "z", "n"];

/// As [`super::stores`].
pub(super) fn stores(
    planet: &Planet,
    path: &str,
    layer: &LayerSpec,
    spec: &GruSpec,
    arrays: &mut Arrays,
) -> Result<Weights, Error> {
    let mut weights = Weights::new();
    let (bias, own) = if spec.bias { biases(planet, path, spec, arrays)? } else { (None, None) };
    for wanted in layer.roles() {
        let name = format!("{path}.{}", wanted.role);
        let nd = match (wanted.role, &bias, &own) {
            (Role::Bias, Some(bias), _) => bias.clone(),
            (Role::RecurrentBias, _, Some(own)) => own.clone(),
            _ if planet.gates == GateLayout::Separate => {
                separate_gates(planet, LayerKind::Gru, &name, Form::Matrix, arrays)?
            }
            _ => ordered(planet, to_loom(planet, Form::Matrix, &name, Nd::take(arrays, &name)?)?),
        };
        weights.insert(wanted.role, store(name, nd, wanted.shape)?);
    }
    Ok(weights)
}

/// Stacked gates in Loom's order.
fn ordered(planet: &Planet, mut nd: Nd) -> Nd {
    let gate = nd.data.len() / GATES.len();
    if planet.gates == GateLayout::Stacked && planet.gru == GruOrder::UpdateFirst {
        let (update, rest) = nd.data.split_at_mut(gate);
        update.iter_mut().zip(rest).for_each(|(z, r)| std::mem::swap(z, r));
    }
    nd
}

/// The bias of all gates, and that of the product which the reset gate acts on.
fn biases(planet: &Planet, path: &str, spec: &GruSpec, arrays: &mut Arrays) -> Result<(Option<Nd>, Option<Nd>), Error> {
    let n = spec.hidden_size;
    let name = format!("{path}.{}", Role::Bias);
    let after = spec.reset == Reset::AfterProduct;
    if planet.gates == GateLayout::Separate {
        let bias = separate_gates(planet, LayerKind::Gru, &name, Form::Plain, arrays)?;
        let own = after.then(|| Nd::take(arrays, &format!("{path}.{}.n", Role::RecurrentBias))).transpose()?;
        return Ok((Some(bias), own));
    }
    let (input, recurrent) = match planet.bias {
        BiasLayout::Split => {
            (Nd::take(arrays, &format!("{path}.input_bias"))?, Nd::take(arrays, &format!("{path}.recurrent_bias"))?)
        }
        // One array of two rows where the planet tells the sides apart.
        BiasLayout::Fused => {
            let both = Nd::take(arrays, &name)?;
            if !after {
                return Ok((Some(ordered(planet, both)), None));
            }
            let expected = vec![2, 3 * n];
            if both.shape != expected {
                return Err(Error::Shape { array: name, found: both.shape, expected });
            }
            let (input, recurrent) = both.data.split_at(3 * n);
            let row = |data: &[f32]| Nd { shape: vec![3 * n], data: data.to_vec() };
            (row(input), row(recurrent))
        }
    };
    if input.shape != [3 * n] || recurrent.shape != [3 * n] {
        return Err(Error::Biases { path: path.into(), input: input.shape, recurrent: recurrent.shape });
    }
    let (input, recurrent) = (ordered(planet, input), ordered(planet, recurrent));
    let (gates, own) = recurrent.data.split_at(2 * n);
    let sums = input.data.iter().zip(gates.iter().chain(&vec![0.0; n])).map(|(a, b)| a + b).collect();
    Ok((Some(Nd { shape: input.shape, data: sums }), Some(Nd { shape: vec![n], data: own.to_vec() })))
}
