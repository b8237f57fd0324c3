//! A call with a document, served as the original serves it and in its order: the file is written
//! before the network is run.

use std::io::Read;
use std::path::{Path, PathBuf};

use loom_core::file;

use crate::answer::{Answer, Outputs};
use crate::entity::{Stored, Target, clean};
use crate::error::Error;
use crate::feed;
use crate::kinds::{Bedrock, Kind};
use crate::model::Model;
use crate::request::{Envelope, Payload, Request, read};
use crate::run::Opener;

/// What a call says beside its document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What the document's envelope may leave empty.
    pub envelope: Envelope,
    /// Whether the file is only written.
    pub skip_infer: bool,
    /// How weights are stored.
    pub stored: Stored,
}

/// Serves a document: writes the `.entity` of its layers, runs them on what `open` opens, and answers.
///
/// # Errors
/// Why it is refused; the file may have been written by then.
pub fn serve(mut document: impl Read, options: &Options, open: Opener) -> Result<Answer, Error> {
    let mut request = read_utf8(&mut document)?;
    request.envelope.fill(&options.envelope);
    let named = bedrock_of(&request).ok_or(Error::NoBedrock)?;
    let envelope = &mut request.envelope;
    if !envelope.root.is_empty() {
        let base = Path::new(&envelope.root).join("python").join(&named);
        let below = |folder: &str| clean(&base.join(folder)).display().to_string();
        let default = Envelope { models_dir: below("models"), fixtures_dir: below("fixtures"), ..Envelope::default() };
        envelope.fill(&default);
    }
    let payload = std::mem::take(&mut request.payload);
    envelope.fill(&Envelope { fixture_version: payload.fixture_version.clone(), ..Envelope::default() });
    if envelope.models_dir.is_empty() && envelope.output_path.is_empty() {
        return Err(Error::NoTarget);
    }
    let bedrock = Bedrock::find(&named).ok_or(Error::UnknownBedrock(named))?;
    request.skip_infer |= options.skip_infer;
    answer(bedrock, &request, payload, options, open)
}

fn answer(
    bedrock: Bedrock,
    request: &Request,
    payload: Payload,
    options: &Options,
    open: Opener,
) -> Result<Answer, Error> {
    let [planet, model_id] = [&payload.planet, &payload.model_id].map(String::clone);
    let mut model = Model::of(bedrock, payload)?;
    let inputs = match request.skip_infer {
        true => None,
        false => feed::tensors(bedrock, request, &model)?,
    };
    let Envelope { models_dir, output_path, .. } = &request.envelope;
    let target = match bedrock {
        Bedrock::Of(Kind::Dense) if !output_path.is_empty() => Target::Asked(PathBuf::from(output_path)),
        _ => Target::named(models_dir, &planet, &model_id)?,
    };
    model.network = options.stored.network(model.network)?;
    let mut answer = options.stored.save(&model.network, &target)?;
    match inputs {
        Some(inputs) => {
            let run = open().map_err(Error::Backend)?;
            answer.fill(Outputs::of(model.run(&inputs, &mut &*run)?)?);
        }
        None if request.skip_infer => {}
        None => return Err(Error::NoInputs),
    }
    Ok(answer)
}

/// Reads a document that may begin with a byte order mark.
fn read_utf8(document: &mut dyn Read) -> Result<Request, Error> {
    // An error is met again, and told, by the reader of the document.
    let mut start = Vec::with_capacity(4);
    let _ = (&mut *document).take(3).read_to_end(&mut start);
    if file::is_utf16(&start) {
        return Err(Error::Utf16);
    }
    let start = start.strip_prefix(file::BOM).unwrap_or(&start);
    read(&mut start.chain(document))
}

/// The name of a request's bedrock: what the envelope says, or its payload, or the first layer's kind.
fn bedrock_of(request: &Request) -> Option<String> {
    let named = request.envelope.bedrock.trim().to_lowercase();
    let payload = request.payload.bedrock.to_lowercase();
    let first = request.payload.layers.first().map(|layer| match layer.kind.as_str() {
        "" => "dense".to_string(),
        kind => kind.to_string(),
    });
    [Some(named), Some(payload), first].into_iter().flatten().find(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::cpu;

    /// A dense layer with its kind after its weights, in names of any case.
    fn request(folder: &Path, name: &str, weight: f32) -> String {
        let path = folder.join(name).display().to_string().replace('\\', "/");
        format!(
            r#"{{"inputs": [[1, 2]], "OUTPUT_PATH": "{path}", "payload": {{"planet": "p", "model_id": "m", "input_dim": 2,
            "layers": [{{"Weights": [3, {weight}], "bias": [0.5], "input_dim": 2, "output_dim": 1, "kind": "dense"}}]}}}}"#
        )
    }

    #[test]
    fn calls_at_once_are_served_each_by_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        std::thread::scope(|scope| {
            for (name, weight) in [("a", 4.0), ("b", -1.0), ("c", 0.0)] {
                let request = request(folder.path(), name, weight);
                scope.spawn(move || {
                    let answer = serve(request.as_bytes(), &Options::default(), cpu).expect("served");
                    assert_eq!((answer.status, answer.layer_count, answer.weight_bytes), ("ok", 1, 8));
                    assert_eq!(answer.outputs, [[3.5 + 2.0 * weight]]);
                    assert!(Path::new(&answer.entity_path).is_file());
                });
            }
        });
    }

    #[test]
    fn outputs_that_json_has_no_number_for_are_refused_as_a_document() {
        let folder = tempfile::tempdir().expect("a folder");
        let served = serve(request(folder.path(), "a", 3e38).as_bytes(), &Options::default(), cpu);
        let refused = served.expect_err("an infinite output");
        assert!(refused.is_of_document(), "{refused}");
        assert_eq!(refused.to_string(), "outputs[0][0] is inf, which JSON has no number for");
    }
}
