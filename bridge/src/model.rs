//! From the layers of a payload to a network: sizes checked against each other, arrays cut into
//! roles; and how such a network is fed. Source: `stream.md` section 5.

use loom_bedrocks::build::fed;
use loom_bedrocks::model::InputSpec;
use loom_core::{LayerKind, LayerSpec, Network, NetworkSpec, RoleShape, Tensor, WeightStore, WeightTable, Weights};

use crate::error::{At, Error, Flaw};
use crate::feed;
use crate::kinds::{Bedrock, Kind, Layer, positive};
use crate::request::{Fields, Payload};

/// The width of a mixer's answer where the payload says none.
const MIXER_WIDTH: usize = 8;

/// A payload as a network.
#[derive(Clone, Debug)]
pub struct Model {
    /// The layers, one after the other.
    pub network: Network,
    /// What the network is fed: arrays of a fixture and the part of each that it sees.
    pub inputs: Vec<InputSpec>,
    /// The width of an answer's rows; `None` is what the network gives.
    pub output_dim: Option<usize>,
    feeding: Feeding,
}

/// How inputs reach the layers, which files do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feeding {
    /// The first layer reads the input, each next the one before.
    Chain,
    /// Every layer adds the two inputs again.
    Residual,
    /// As [`mix`].
    Mixer,
}

impl Model {
    /// Makes a network of a payload.
    ///
    /// # Errors
    /// The layer, the size or array, and both numbers where two disagree.
    pub fn of(bedrock: Bedrock, payload: Payload) -> Result<Self, Error> {
        check_names(bedrock, &payload)?;
        let Payload { sizes, layers, .. } = payload;
        let (mut specs, mut table) = (Vec::new(), WeightTable::new());
        let mut expected = match bedrock {
            Bedrock::Of(kind) => kind.first(&sizes),
            Bedrock::Mixer => Vec::new(),
        };
        for (position, fields) in layers.into_iter().enumerate() {
            let at = At { bedrock, kind: bedrock.kind(&fields, position)?, position };
            let (spec, weights) = layer(at, fields, &mut expected)?;
            if !weights.is_empty() {
                table.insert(format!("layers.{position}"), weights);
            }
            specs.push(spec);
        }
        let inputs = feed::inputs(bedrock, &sizes)?;
        let network = Network::build(NetworkSpec::stack(specs), &mut table)?;
        let (feeding, width) = match bedrock {
            Bedrock::Mixer => (Feeding::Mixer, Some(MIXER_WIDTH)),
            Bedrock::Of(Kind::Residual) => (Feeding::Residual, None),
            Bedrock::Of(_) => (Feeding::Chain, None),
        };
        let output_dim = match sizes.output_dim {
            0 => width,
            given => Some(positive("output_dim", given).map_err(|size| Error::Size { of: String::new(), size })?),
        };
        Ok(Self { network, inputs, output_dim, feeding })
    }

    /// Runs the network on its inputs by `run` and cuts the rows to the width that was asked for; a
    /// mixer's are filled up with zeros.
    ///
    /// # Errors
    /// Those of `run`, and of an input that is missing.
    pub fn run(&self, inputs: &[Tensor], run: &mut Forward<'_>) -> Result<Vec<Vec<f32>>, Error> {
        let samples = inputs.first().and_then(|x| x.shape().first()).copied().unwrap_or(0);
        if samples == 0 {
            return Ok(Vec::new());
        }
        let y = match self.feeding {
            Feeding::Chain => run(&self.network, inputs)?,
            Feeding::Residual => {
                let last = self.network.layers().count() - 1;
                run(&fed(&self.network, &[(last, 0)].into(), &[(last, 1)].into())?, inputs)?
            }
            Feeding::Mixer => mix(&self.network, inputs, run)?,
        };
        let width = y.data().len() / samples;
        let kept = self.output_dim.map_or(width, |wanted| wanted.min(width));
        let filled = if self.feeding == Feeding::Mixer { self.output_dim.unwrap_or(width) } else { kept };
        let row = |row: &[f32]| {
            let mut row = row[..kept].to_vec();
            row.resize(filled.max(kept), 0.0);
            row
        };
        Ok(y.data().chunks_exact(width.max(1)).map(row).collect())
    }
}

/// What runs a network on its inputs.
pub type Forward<'a> = dyn FnMut(&Network, &[Tensor]) -> loom_core::Result<Tensor> + 'a;

/// Runs a flat mixer: an embedding reads the second input in place of the layer before it, and a
/// residual layer adds the output of the last norm, once. Source: `stream.md` section 5.13.
///
/// # Errors
/// Those of `run`, and that of a network that is fed nothing.
pub fn mix(network: &Network, inputs: &[Tensor], run: &mut Forward<'_>) -> Result<Tensor, Error> {
    let first = inputs.first().ok_or(Error::NoVolume)?;
    let mut current = first.clone();
    let mut skip: Option<Tensor> = None;
    for layer in network.layers() {
        let kind = layer.spec().kind();
        let mut spec = NetworkSpec::stack(vec![layer.spec().clone()]);
        let mut fed = vec![current];
        match kind {
            LayerKind::Embedding => fed = inputs.get(1).cloned().into_iter().collect(),
            LayerKind::Residual => {
                spec.cells[0].skip = skip.as_ref().map(|_| 1);
                fed.extend(skip.take());
            }
            _ => {}
        }
        let weights = layer.weights().clone();
        let mut table = WeightTable::new();
        if !weights.is_empty() {
            table.insert("layers.0".into(), weights);
        }
        current = run(&Network::build(spec, &mut table)?, &fed)?;
        if matches!(kind, LayerKind::LayerNorm | LayerKind::RmsNorm) {
            skip = Some(current.clone());
        }
    }
    Ok(current)
}

/// Checks what a bedrock asks of a payload as a whole.
fn check_names(bedrock: Bedrock, payload: &Payload) -> Result<(), Error> {
    let given = payload.layers.len();
    match bedrock {
        Bedrock::Of(Kind::Dense) if payload.planet.is_empty() || payload.model_id.is_empty() => Err(Error::NoNames),
        Bedrock::Of(_) if given == 0 => Err(Error::NoLayers(bedrock)),
        Bedrock::Of(_) => Ok(()),
        Bedrock::Mixer => match if payload.model_id == "mixer_all_v2" { 16 } else { 10 } {
            wanted if wanted == given => Ok(()),
            wanted => Err(Error::MixerLayers { id: payload.model_id.clone(), wanted, given }),
        },
    }
}

/// The configuration and weights of a layer. `expected` becomes what the next one must have.
fn layer(at: At, fields: Fields, expected: &mut [i64]) -> Result<(LayerSpec, Weights), Error> {
    let index = fields.sizes.index;
    if usize::try_from(index) != Ok(at.position) {
        return Err(at.error(Flaw::Index(index)));
    }
    let layer: Box<dyn Layer> = at.kind.layer(fields);
    // In a mixer nothing is expected.
    for (link, expected) in layer.links().iter().zip(expected) {
        *expected = link.check(at, *expected)?;
    }
    let spec = layer.spec(at)?;
    spec.check().map_err(|what| at.error(Flaw::Spec(what)))?;
    let roles = spec.roles();
    let arrays = layer.arrays(at, &roles)?;
    let store = |(RoleShape { role, shape, .. }, data): (RoleShape, Vec<f32>)| {
        let store = WeightStore::f32(shape, data);
        let store = store.map_err(|error| at.error(Flaw::Store { role, error }))?;
        Ok((role, store))
    };
    let weights = roles.into_iter().zip(arrays).map(store).collect::<Result<_, Error>>()?;
    Ok((spec, weights))
}
