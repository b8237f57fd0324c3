//! A call with weights as arrays by role, in the planet's own layout: they never pass through text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use loom_bedrocks::build;
use loom_bedrocks::model::{InputSpec, network_spec};
use loom_bedrocks::names::unknown;
use loom_bedrocks::npz::{self, Arrays};
use loom_bedrocks::planets::{self, PLANETS};
use loom_core::{LayerSpec, Tensor};
use serde::Deserialize;

use crate::answer::{Answer, Outputs};
use crate::entity::{Stored, Target, Version};
use crate::error::Error;
use crate::run::Opener;

/// A model in JSON: what a manifest says of it, without fixtures and bands, and where it comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveModel {
    /// The planet whose layout the arrays have.
    pub planet: String,
    /// Its name.
    pub model_id: String,
    /// What it is fed.
    #[serde(default)]
    pub inputs: Vec<InputSpec>,
    /// Layers that read an input in place of the layer before: layer index to input index.
    #[serde(default)]
    pub reads: BTreeMap<usize, usize>,
    /// Residual layers that add an input: layer index to input index.
    #[serde(default)]
    pub skips: BTreeMap<usize, usize>,
    /// Its layers, in order.
    pub layers: Vec<LayerSpec>,
}

/// Arrays by name.
#[derive(Clone, Debug)]
pub enum Source<'a> {
    /// In a file.
    Npz(&'a Path),
    /// In memory.
    Memory(Arrays),
}

/// What a call says beside its arrays.
#[derive(Clone, Debug, Default)]
pub struct ArrayOptions<'a> {
    /// The arrays that the model is fed.
    pub fixture: Option<Source<'a>>,
    /// Whether the file is only written.
    pub skip_infer: bool,
    /// The file to write.
    pub output: &'a str,
    /// Where files go whose name is not given.
    pub models_dir: &'a str,
    /// How weights are stored.
    pub stored: Stored,
}

/// Serves arrays `PATH.ROLE`, the path being that of a layer. Nothing is written of a model that cannot be run.
///
/// # Errors
/// Why it is refused.
pub fn serve_arrays(
    model: &LiveModel,
    weights: Source<'_>,
    options: ArrayOptions<'_>,
    open: Opener,
) -> Result<Answer, Error> {
    let planet = planets::find(&model.planet)
        .ok_or_else(|| unknown("planet", &model.planet, PLANETS.iter().map(|planet| planet.id)))?;
    let spec = network_spec(&model.layers, &model.reads, &model.skips);
    let network = build::network(spec, planet, &weights.read()?)?;
    let inputs = match options.fixture {
        _ if options.skip_infer => None,
        None => return Err(Error::NoFixture),
        Some(fixture) => Some(fixture.inputs(&model.inputs)?),
    };
    let target = match options.output {
        "" if options.models_dir.is_empty() => return Err(Error::NoOutput),
        "" => Target::named(options.models_dir, &model.planet, &model.model_id)?,
        output => Target::Asked(PathBuf::from(output)),
    };
    let network = options.stored.network(network)?;
    let outputs = match &inputs {
        None => None,
        Some(inputs) => {
            let y = open().map_err(Error::Backend)?(&network, inputs)?;
            let samples = inputs.first().and_then(|x| x.shape().first()).copied().unwrap_or(0);
            let width = (y.data().len() / samples.max(1)).max(1);
            Some(Outputs::of(y.data().chunks_exact(width).map(<[f32]>::to_vec).collect())?)
        }
    };
    // Version 1 does not say how a network is fed.
    let network = match options.stored.version {
        Version::One => build::fed(&network, &BTreeMap::new(), &BTreeMap::new())?,
        Version::Two => network,
    };
    let mut answer = options.stored.save(&network, &target)?;
    if let Some(outputs) = outputs {
        answer.fill(outputs);
    }
    Ok(answer)
}

impl Source<'_> {
    fn read(self) -> Result<Arrays, Error> {
        match self {
            Source::Npz(path) => Ok(npz::read(path)?),
            Source::Memory(arrays) => Ok(arrays),
        }
    }

    /// The inputs of a model in it.
    fn inputs(self, inputs: &[InputSpec]) -> Result<Vec<Tensor>, Error> {
        let of =
            |arrays: &Arrays| inputs.iter().map(|input| build::input(input, arrays)).collect::<Result<Vec<_>, _>>();
        match self {
            Source::Npz(path) => {
                let names: Vec<&str> = inputs.iter().map(|input| input.array.as_str()).collect();
                let arrays = npz::read_some(path, &names)?;
                of(&arrays).map_err(|error| Error::FileInput { path: path.into(), error: Box::new(error) })
            }
            Source::Memory(arrays) => Ok(of(&arrays)?),
        }
    }
}
