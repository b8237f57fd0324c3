//! What a network is fed: rows of the request, or arrays of a fixture. Source: `stream.md` section 7.2.

use std::path::Path;

use loom_bedrocks::model::InputSpec;
use loom_bedrocks::{build, npz};
use loom_core::Tensor;

use crate::entity::clean;
use crate::error::{Error, FixtureError};
use crate::kinds::{Bedrock, Kind, positive};
use crate::model::Model;
use crate::request::{Request, Sizes};

/// The array of ids that a mixer's embedding reads.
const TOKENS: &str = "token_ids_test";

/// The arrays that a bedrock's networks read, and the part of each.
pub(crate) fn inputs(bedrock: Bedrock, payload: &Sizes) -> Result<Vec<InputSpec>, Error> {
    let size =
        |name, given| positive(name, given).map_err(|size| Error::Size { of: format!("{bedrock} stream: "), size });
    let channels = || size("input_channels", payload.input_channels);
    let positions = || size("seq_len", payload.seq_len);
    let positions_or_4 = || if payload.seq_len == 0 { Ok(4) } else { positions() };
    let take = match bedrock {
        Bedrock::Of(kind) => match kind {
            Kind::Dense => vec![size("input_dim", payload.input_dim)?],
            Kind::Cnn1 => vec![channels()?, positions()?],
            Kind::Cnn2 => vec![channels()?, size("height", payload.height)?, size("width", payload.width)?],
            Kind::Cnn3 => vec![
                channels()?,
                size("depth", payload.depth)?,
                size("height", payload.height)?,
                size("width", payload.width)?,
            ],
            Kind::Mha => vec![positions()?, size("d_model", payload.d_model)?],
            Kind::Lstm | Kind::Rnn => vec![positions()?, size("input_size", payload.input_size)?],
            Kind::LayerNorm | Kind::RmsNorm | Kind::Residual => vec![positions_or_4()?, size("dim", payload.dim)?],
            Kind::SwiGlu => vec![positions_or_4()?, size("input_dim", payload.input_dim)?],
            Kind::Embedding => vec![positions_or_4()?],
        },
        Bedrock::Mixer => Vec::new(),
    };
    let names: &[&str] = match bedrock {
        Bedrock::Of(Kind::Residual) => &["x_main_test", "x_skip_test"],
        Bedrock::Of(_) => &["x_test"],
        Bedrock::Mixer => &["x_test", TOKENS],
    };
    Ok(names.iter().map(|name| InputSpec { array: (*name).into(), take: take.clone() }).collect())
}

/// Rows of the request, or a fixture; `None` where the request names neither.
pub(crate) fn tensors(bedrock: Bedrock, request: &Request, model: &Model) -> Result<Option<Vec<Tensor>>, Error> {
    if !request.inputs.is_empty() {
        return rows(bedrock, &request.inputs, model).map(|rows| Some(vec![rows]));
    }
    let [folder, version] = [&request.envelope.fixtures_dir, &request.envelope.fixture_version];
    if bedrock == Bedrock::Of(Kind::Dense) && (folder.is_empty() || version.is_empty()) {
        return Ok(None);
    }
    fixture(bedrock, &clean(&Path::new(folder).join(format!("{version}.npz"))), model).map(Some)
}

fn fixture(bedrock: Bedrock, path: &Path, model: &Model) -> Result<Vec<Tensor>, Error> {
    let refused = |error| Error::Fixture(Box::new(error));
    let names: Vec<&str> = model.inputs.iter().map(|input| input.array.as_str()).collect();
    let mut fixture = npz::read_some(path, &names).map_err(|error| refused(error.into()))?;
    let samples = fixture.get("x_test").and_then(|array| array.shape.first()).copied();
    if let (Bedrock::Mixer, Some(n)) = (bedrock, samples) {
        // Fixtures of mixers without an embedding may have no ids.
        fixture.entry(TOKENS.into()).or_insert_with(|| npz::Array {
            shape: vec![n, 2],
            data: npz::Data::F64(vec![0.0; 2 * n]),
            sha256: String::new(),
        });
    }
    if let Some(name) = names.iter().find(|name| !fixture.contains_key(**name)) {
        return Err(refused(FixtureError::Missing { array: (*name).into() }));
    }
    let tensors = model.inputs.iter().map(|input| build::input(input, &fixture)).collect::<Result<_, _>>();
    tensors.map_err(|error| refused(FixtureError::Input { path: path.into(), error }))
}

/// The rows as the first and only input.
fn rows(bedrock: Bedrock, rows: &[Vec<f32>], model: &Model) -> Result<Tensor, Error> {
    let [input] = model.inputs.as_slice() else {
        return Err(Error::TwoInputs(bedrock));
    };
    let wanted: usize = input.take.iter().product();
    let mut data = Vec::with_capacity(wanted.saturating_mul(rows.len()).min(1 << 24));
    for (row, numbers) in rows.iter().enumerate() {
        // The original reads the first columns of dense rows and ignores the others.
        let given = numbers.len();
        if given < wanted || (bedrock != Bedrock::Of(Kind::Dense) && given > wanted) {
            return Err(Error::Row { row, given, wanted });
        }
        data.extend_from_slice(&numbers[..wanted]);
    }
    let shape = std::iter::once(rows.len()).chain(input.take.iter().copied()).collect();
    Ok(Tensor::new(shape, data)?)
}
