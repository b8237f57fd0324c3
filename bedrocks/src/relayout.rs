//! From a planet's arrays to Loom's stores: axes moved, gates stacked, split biases added.
//!
//! Layout is derived from the planet's conventions and the array's role, never from its
//! shape: a square matrix is transposed like any other.

mod gru;

use loom_core::{LayerKind, LayerSpec, Role, WeightStore, Weights};

use crate::npz::{Array, Arrays, Data, advance};
use crate::planets::{BiasLayout, ChannelOrder, GateLayout, KernelOrder, MatrixOrder, Planet, TransposedOrder};

/// The gates of an LSTM, in Loom's order.
const GATES: [&str; 4] = ["i", "f", "g", "o"];

/// Why a planet's arrays are not the weights of a layer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// An array is not there.
    #[error("array {array} is missing")]
    Missing {
        /// Its name.
        array: String,
    },
    /// An array is of the wrong type.
    #[error("array {array} is float64; weights are dumped as float32")]
    Float64 {
        /// Its name.
        array: String,
    },
    /// An array has another number of axes than its role.
    #[error("array {array} has shape {found:?}; expected {expected}")]
    Rank {
        /// Its name.
        array: String,
        /// Its shape, in the planet's layout.
        found: Vec<usize>,
        /// What it should be, in words.
        expected: &'static str,
    },
    /// An array has other extents than the layer needs.
    #[error("array {array} has shape {found:?} in Loom's layout; the layer needs {expected:?}")]
    Shape {
        /// Its name.
        array: String,
        /// Its shape, in Loom's layout.
        found: Vec<usize>,
        /// The shape that the layer needs.
        expected: Vec<usize>,
    },
    /// The two halves of a bias do not fit together.
    #[error("{path}.input_bias and .recurrent_bias have shapes {input:?} and {recurrent:?}")]
    Biases {
        /// The layer's path.
        path: String,
        /// The shape of the half beside the input matrix.
        input: Vec<usize>,
        /// The shape of the half beside the recurrent matrix.
        recurrent: Vec<usize>,
    },
    /// A gate cannot be stacked on those before it.
    #[error("array {array} has shape {found:?} beside gates of {beside:?}")]
    Gate {
        /// The name of its array.
        array: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape of those before it, stacked.
        beside: Vec<usize>,
    },
    /// A layer with gates has none.
    #[error("array {array} has no gates")]
    NoGates {
        /// The name that its gates' names begin with.
        array: String,
    },
    /// A bias that the model does not have is not zero.
    #[error("array {array} is not zero, but the model says `bias: false`")]
    Bias {
        /// Its name.
        array: String,
    },
    /// The elements of an array cannot be weights.
    #[error("array {array}: {error}")]
    Store {
        /// Its name.
        array: String,
        /// What is wrong.
        error: loom_core::Error,
    },
}

/// An f32 array on its way to Loom's layout.
#[derive(Clone, Debug, PartialEq)]
struct Nd {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Nd {
    fn take(arrays: &mut Arrays, name: &str) -> Result<Self, Error> {
        let array = arrays.remove(name).ok_or_else(|| Error::Missing { array: name.into() })?;
        let Array { shape, data, .. } = array;
        match data {
            Data::F32(data) => Ok(Self { shape, data }),
            Data::F64(_) | Data::U8(_) => Err(Error::Float64 { array: name.into() }),
        }
    }

    /// The same elements with axis `axes[i]` of the old array as axis `i`.
    fn permute(self, axes: &[usize]) -> Self {
        let strides: Vec<usize> = (0..self.shape.len()).map(|i| self.shape[i + 1..].iter().product()).collect();
        let shape: Vec<usize> = axes.iter().map(|&a| self.shape[a]).collect();
        let mut data = Vec::with_capacity(self.data.len());
        let mut at = vec![0; shape.len()];
        for _ in 0..self.data.len() {
            data.push(self.data[at.iter().zip(axes).map(|(i, &a)| i * strides[a]).sum::<usize>()]);
            advance(&mut at, &shape);
        }
        Self { shape, data }
    }

    /// The same elements with some axes backwards.
    fn flip(self, axes: std::ops::Range<usize>) -> Self {
        let mut data = Vec::with_capacity(self.data.len());
        let mut at = vec![0; self.shape.len()];
        for _ in 0..self.data.len() {
            let from = at
                .iter()
                .zip(&self.shape)
                .enumerate()
                .fold(0, |from, (axis, (&i, &n))| from * n + if axes.contains(&axis) { n - 1 - i } else { i });
            data.push(self.data[from]);
            advance(&mut at, &self.shape);
        }
        Self { data, ..self }
    }

    /// `[groups * a, b, …]` as `[groups * b, a, …]`: both of each group change places.
    fn swap_in_groups(self, groups: usize) -> Self {
        let [first, second, rest @ ..] = self.shape.as_slice() else { return self };
        let (a, b, rest) = (first / groups, *second, rest.to_vec());
        let blocks = Self { shape: [vec![groups, a, b], rest.clone()].concat(), data: self.data };
        let order: Vec<usize> = [0, 2, 1].into_iter().chain(3..3 + rest.len()).collect();
        Self { shape: [vec![groups * b, a], rest].concat(), data: blocks.permute(&order).data }
    }
}

/// What kind of array a role is, which decides how a planet lays it out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Matrix,
    Kernel,
    /// The kernel of a transposed convolution with so many groups.
    Transposed(usize),
    Plain,
}

fn form(spec: &LayerSpec, role: Role) -> Form {
    match (spec, role) {
        (LayerSpec::ConvTransposed1(conv), Role::Weight) => return Form::Transposed(conv.groups),
        (LayerSpec::ConvTransposed2(conv), Role::Weight) => return Form::Transposed(conv.groups),
        (LayerSpec::ConvTransposed3(conv), Role::Weight) => return Form::Transposed(conv.groups),
        _ => {}
    }
    match (spec.kind(), role) {
        (LayerKind::Cnn1 | LayerKind::Cnn2 | LayerKind::Cnn3, Role::Weight) => Form::Kernel,
        (LayerKind::Dense, Role::Weight)
        | (_, Role::QWeight | Role::KWeight | Role::VWeight | Role::OWeight)
        | (_, Role::GateWeight | Role::UpWeight | Role::DownWeight)
        | (_, Role::InputWeight | Role::RecurrentWeight) => Form::Matrix,
        _ => Form::Plain,
    }
}

/// Takes the arrays of the layer at `path` out of `arrays` and lays them out for Loom.
///
/// # Errors
/// The array: it is missing, of another shape than the layer needs
/// (both shapes given, in the planet's layout), not finite, or a bias that the model does
/// not have and that is not zero.
pub fn stores(planet: &Planet, path: &str, spec: &LayerSpec, arrays: &mut Arrays) -> Result<Weights, Error> {
    if let LayerSpec::Gru(gru) = spec {
        return gru::stores(planet, path, spec, gru, arrays);
    }
    let kind = spec.kind();
    let recurrent = matches!(kind, LayerKind::Lstm | LayerKind::Rnn);
    let mut weights = Weights::new();
    for wanted in spec.roles() {
        let (role, name) = (wanted.role, format!("{path}.{}", wanted.role));
        let form = form(spec, role);
        let nd = if recurrent && planet.gates == GateLayout::Separate {
            separate_gates(planet, kind, &name, form, arrays)?
        } else if recurrent && role == Role::Bias && planet.bias == BiasLayout::Split {
            let input = Nd::take(arrays, &format!("{path}.input_bias"))?;
            let hidden = Nd::take(arrays, &format!("{path}.recurrent_bias"))?;
            if input.shape != hidden.shape {
                return Err(Error::Biases { path: path.into(), input: input.shape, recurrent: hidden.shape });
            }
            let data = input.data.iter().zip(&hidden.data).map(|(a, b)| a + b).collect();
            Nd { shape: input.shape, data }
        } else {
            to_loom(planet, form, &name, Nd::take(arrays, &name)?)?
        };
        weights.insert(role, store(name, nd, wanted.shape)?);
    }
    drop_zero_biases(path, arrays)?;
    Ok(weights)
}

/// The store of an array of the shape that a layer needs.
fn store(array: String, nd: Nd, expected: Vec<usize>) -> Result<WeightStore, Error> {
    if nd.shape != expected {
        return Err(Error::Shape { array, found: nd.shape, expected });
    }
    WeightStore::f32(nd.shape, nd.data).map_err(|error| Error::Store { array, error })
}

fn to_loom(planet: &Planet, form: Form, name: &str, nd: Nd) -> Result<Nd, Error> {
    let rank = nd.shape.len();
    let wrong = |found, expected| Err(Error::Rank { array: name.into(), found, expected });
    match form {
        Form::Matrix if rank != 2 => wrong(nd.shape, "a matrix"),
        Form::Kernel | Form::Transposed(_) if rank < 3 => wrong(nd.shape, "a convolution kernel"),
        Form::Matrix if planet.matrix == MatrixOrder::InOut => Ok(nd.permute(&[1, 0])),
        Form::Kernel if planet.kernel == KernelOrder::SpatialInOut => {
            let axes: Vec<usize> = [rank - 1, rank - 2].into_iter().chain(0..rank - 2).collect();
            Ok(nd.permute(&axes))
        }
        Form::Transposed(groups) => Ok(match planet.transposed {
            // What does not divide is of another shape than the layer's, which is told there.
            TransposedOrder::InOutSpatial if nd.shape[0].is_multiple_of(groups.max(1)) => {
                nd.swap_in_groups(groups.max(1))
            }
            TransposedOrder::InOutSpatial => nd,
            TransposedOrder::SpatialOutIn => {
                let axes: Vec<usize> = [rank - 2, rank - 1].into_iter().chain(0..rank - 2).collect();
                nd.permute(&axes)
            }
            TransposedOrder::SpatialInOutFlipped => {
                let axes: Vec<usize> = [rank - 1, rank - 2].into_iter().chain(0..rank - 2).collect();
                nd.flip(0..rank - 2).permute(&axes)
            }
        }),
        _ => Ok(nd),
    }
}

fn separate_gates(planet: &Planet, kind: LayerKind, name: &str, form: Form, arrays: &mut Arrays) -> Result<Nd, Error> {
    let gates: &[&str] = match kind {
        LayerKind::Lstm => &GATES,
        LayerKind::Gru => &gru::GATES,
        _ => &["h"],
    };
    let mut stacked: Option<Nd> = None;
    for gate in gates {
        let name = format!("{name}.{gate}");
        let nd = to_loom(planet, form, &name, Nd::take(arrays, &name)?)?;
        match &mut stacked {
            None => stacked = Some(nd),
            Some(all) if !nd.shape.is_empty() && all.shape.get(1..) == nd.shape.get(1..) => {
                all.shape[0] += nd.shape[0];
                all.data.extend(nd.data);
            }
            Some(all) => return Err(Error::Gate { array: name, found: nd.shape, beside: all.shape.clone() }),
        }
    }
    stacked.ok_or_else(|| Error::NoGates { array: name.into() })
}

/// Some planets cannot leave a bias out; one that the model does not have must be zero.
fn drop_zero_biases(path: &str, arrays: &mut Arrays) -> Result<(), Error> {
    let name = format!("{path}.{}", Role::Bias);
    let Some(array) = arrays.get(&name) else { return Ok(()) };
    match &array.data {
        Data::F32(data) if data.iter().all(|&v| v == 0.0) => {
            arrays.remove(&name);
            Ok(())
        }
        _ => Err(Error::Bias { array: name }),
    }
}

/// The planet's output in Loom's channel order: shape and, for each element, where it
/// stands in the planet's array.
#[must_use]
pub fn output_order(planet: &Planet, last: Option<&LayerSpec>, shape: &[usize]) -> (Vec<usize>, Option<Vec<usize>>) {
    let conv = last.is_some_and(|spec| matches!(form(spec, Role::Weight), Form::Kernel | Form::Transposed(_)));
    if !conv || planet.channels == ChannelOrder::First || shape.len() < 3 {
        return (shape.to_vec(), None);
    }
    let (batch, channels) = (shape[0], shape[shape.len() - 1]);
    let spatial: usize = shape[1..shape.len() - 1].iter().product();
    let mut order = Vec::with_capacity(batch * channels * spatial);
    for b in 0..batch {
        for c in 0..channels {
            order.extend((0..spatial).map(|s| (b * spatial + s) * channels + c));
        }
    }
    let mut loom = vec![batch, channels];
    loom.extend(&shape[1..shape.len() - 1]);
    (loom, Some(order))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planets::{PLANETS, find};

    fn array(shape: &[usize], data: Vec<f32>) -> Array {
        Array::of(shape.to_vec(), Data::F32(data))
    }

    fn spec(json: &str) -> LayerSpec {
        serde_json::from_str(json).expect("a layer")
    }

    #[test]
    fn a_square_kernel_is_transposed_by_convention_not_by_shape() {
        let dense = spec(r#"{"dense": {"input_dim": 2, "output_dim": 2, "bias": false}}"#);
        let expect = |planet: &str| if planet == "pytorch" { [1.0, 2.0, 3.0, 4.0] } else { [1.0, 3.0, 2.0, 4.0] };
        for planet in PLANETS {
            let mut arrays = Arrays::from([("layers.0.weight".into(), array(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]))]);
            let weights = stores(planet, "layers.0", &dense, &mut arrays).expect("stores");
            assert_eq!(weights[&Role::Weight].to_f32(), expect(planet.id), "{}", planet.id);
        }
    }

    #[test]
    fn keras_kernels_move_their_axes() {
        let conv = spec(r#"{"cnn2": {"in_channels": 2, "filters": 3, "input": [4, 4], "kernel_size": 2}}"#);
        // Element [y, x, in, out] holds 1000 y + 100 x + 10 in + out.
        let mut data = Vec::new();
        for (y, x, i) in (0..8).map(|n| (n / 4, n / 2 % 2, n % 2)) {
            data.extend((0..3).map(|o| (1000 * y + 100 * x + 10 * i + o) as f32));
        }
        let mut arrays = Arrays::from([("layers.0.weight".into(), array(&[2, 2, 2, 3], data))]);
        let weights = stores(find("tensorflow").expect("planet"), "layers.0", &conv, &mut arrays).expect("stores");
        let w = weights[&Role::Weight].to_f32();
        assert_eq!(w[..8], [0.0, 100.0, 1000.0, 1100.0, 10.0, 110.0, 1010.0, 1110.0]);
        assert_eq!(w[8], 1.0);
    }

    #[test]
    fn a_bias_that_the_model_lacks_must_be_zero() {
        let dense = spec(r#"{"dense": {"input_dim": 1, "output_dim": 1, "bias": false}}"#);
        let with = |bias: f32| {
            let mut arrays = Arrays::from([
                ("layers.0.weight".into(), array(&[1, 1], vec![1.0])),
                ("layers.0.bias".into(), array(&[1], vec![bias])),
            ]);
            stores(find("sklearn").expect("planet"), "layers.0", &dense, &mut arrays)
        };
        assert!(with(0.0).is_ok());
        assert!(with(0.5).expect_err("refused").to_string().contains("bias: false"));
    }
}
