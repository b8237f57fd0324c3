//! Reads a request in one pass. Field names match without regard to case, unknown fields are
//! skipped, `null` means absent; an array of numbers becomes f32 as it is read.
//!
//! A layer's kind, and the bedrock itself, may be said after the arrays, so a layer is read into all the
//! [`Fields`] that any kind has. Source: `stream.md` sections 2 and 3.

mod fields;
mod place;
mod slot;
mod values;

use std::io::{BufReader, Read};

use serde::de::DeserializeSeed as _;
use serde_json::error::Category;

pub use self::fields::{Fields, Payload, Sizes};
use self::place::Place;
use self::slot::{Object, ObjectVisitor, Slot};
use self::values::Any;
use crate::error::Error;

/// Bytes of a document that are read at a time.
const PIECE: usize = 1 << 14;

/// Where things lie, and which bedrock is meant. What is empty is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The bedrock of the stream.
    pub bedrock: String,
    /// Base of `python/BEDROCK/models` and `python/BEDROCK/fixtures`.
    pub root: String,
    /// Where files go.
    pub models_dir: String,
    /// Where fixtures lie.
    pub fixtures_dir: String,
    /// The name of the fixture.
    pub fixture_version: String,
    /// The file to write; dense alone honours it.
    pub output_path: String,
}

/// A request: where things lie, what to feed, and the layers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Where things lie.
    pub envelope: Envelope,
    /// Rows to run on in place of a fixture.
    pub inputs: Vec<Vec<f32>>,
    /// Whether the file is only written.
    pub skip_infer: bool,
    /// The layers. Where the document has no `payload`, it is a payload itself.
    pub payload: Payload,
}

/// The document as it is read.
#[derive(Default)]
struct Document {
    request: Request,
    payload: Option<Payload>,
}

impl Envelope {
    /// Takes from `other` what is empty here.
    pub fn fill(&mut self, other: &Envelope) {
        let Envelope { bedrock, root, models_dir, fixtures_dir, fixture_version, output_path } = other;
        for (own, other) in [
            (&mut self.bedrock, bedrock),
            (&mut self.root, root),
            (&mut self.models_dir, models_dir),
            (&mut self.fixtures_dir, fixtures_dir),
            (&mut self.fixture_version, fixture_version),
            (&mut self.output_path, output_path),
        ] {
            if own.is_empty() {
                own.clone_from(other);
            }
        }
    }

    fn slot(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "bedrock" => &mut self.bedrock,
            "root" => &mut self.root,
            "models_dir" => &mut self.models_dir,
            "fixtures_dir" => &mut self.fixtures_dir,
            "fixture_version" => &mut self.fixture_version,
            "output_path" => &mut self.output_path,
            _ => return None,
        })
    }
}

impl Object for Document {
    const WHAT: &'static str = "a request: an object with a payload";

    fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
        let Request { envelope, inputs, skip_infer, payload } = &mut self.request;
        match name {
            "payload" => Some(Slot::Payload(&mut self.payload)),
            "inputs" => Some(Slot::Rows(inputs)),
            "skip_infer" => Some(Slot::Switch(skip_infer)),
            // The document may be a payload itself.
            _ => envelope.slot(name).map(Slot::Text).or_else(|| payload.slot(name)),
        }
    }

    fn in_payload(name: &str) -> Option<bool> {
        Some(!matches!(name, "inputs" | "skip_infer") && Envelope::default().slot(name).is_none())
    }
}

/// Reads a request, in pieces of 16 KiB.
///
/// # Errors
/// [`Error::Document`] or [`Error::Payload`] with the place and what was expected there.
pub fn read(input: &mut dyn Read) -> Result<Request, Error> {
    let place = Place::default();
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(PIECE, input));
    let read = Any(ObjectVisitor::<Document>::of(&place)).deserialize(&mut json);
    let Document { mut request, payload } =
        read.and_then(|document| json.end().map(|()| document)).map_err(|error| told(&error, &place))?;
    match payload {
        Some(payload) => request.payload = payload,
        None => {
            request.payload.bedrock.clone_from(&request.envelope.bedrock);
            request.payload.fixture_version.clone_from(&request.envelope.fixture_version);
        }
    }
    Ok(request)
}

/// An error of the reader, with its place where it has one.
fn told(error: &serde_json::Error, place: &Place) -> Error {
    let in_payload = place.in_payload.get();
    match error.classify() {
        Category::Eof if error.line() == 1 && error.column() == 0 => Error::Document("stdin JSON required".into()),
        Category::Eof => Error::Document(format!("unexpected end of JSON input: {error}")),
        Category::Data if place.is_start() => Error::Document(error.to_string()),
        Category::Data if place.beyond.get() || !in_payload => Error::Document(format!("{place}: {error}")),
        Category::Data => Error::Payload(format!("{place}: {error}")),
        Category::Syntax if in_payload && error.to_string().starts_with("number out of range") => {
            Error::Payload(format!("{place}: {error}"))
        }
        Category::Syntax | Category::Io => Error::Document(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Error {
        read(&mut text.as_bytes()).expect_err("refused")
    }

    #[test]
    fn names_match_in_any_case_and_null_is_absent() {
        let text = r#"{"BEDROCK": "dense", "Inputs": [[1, null]], "skip_infer": null, "other": {"a": [1]},
            "payload": {"Planet": "p", "layers": [{"Weights": [1, 2.5], "index": null}]}}"#;
        let request = read(&mut text.as_bytes()).expect("a request");
        assert_eq!((request.envelope.bedrock.as_str(), request.payload.planet.as_str()), ("dense", "p"));
        assert_eq!((request.inputs.clone(), request.skip_infer), (vec![vec![1.0, 0.0]], false));
        assert_eq!(request.payload.layers[0].weights, [1.0, 2.5]);
    }

    #[test]
    fn the_last_field_of_a_name_counts() {
        let text = r#"{"payload": {"dim": 3, "DIM": 4, "layers": [{"dim": 1}], "layers": [{"dim": 2, "dim": null}]}}"#;
        let request = read(&mut text.as_bytes()).expect("a request");
        assert_eq!((request.payload.sizes.dim, request.payload.layers.len()), (4, 1));
        assert_eq!(request.payload.layers[0].sizes.dim, 0);
    }

    #[test]
    fn a_bare_stream_is_its_own_payload() {
        let text = r#"{"bedrock": "rnn", "output_path": "o", "dim": 3, "layers": [{}]}"#;
        let request = read(&mut text.as_bytes()).expect("a request");
        assert_eq!((request.payload.bedrock.as_str(), request.payload.sizes.dim), ("rnn", 3));
        assert_eq!((request.envelope.output_path.as_str(), request.payload.layers.len()), ("o", 1));
    }

    #[test]
    fn errors_name_their_place_and_channel() {
        let stream = refused(r#"{"payload": {"layers": [{}, {"q_bias": [1, "a"]}]}}"#);
        assert!(
            matches!(&stream, Error::Payload(what) if what.starts_with("payload.layers[1].q_bias[1]: invalid type"))
        );
        let beyond = refused(r#"{"payload": {"layers": [{"weights": [1e39]}]}}"#);
        assert!(matches!(&beyond, Error::Document(what) if what.contains("weights[0]: 1e39 is beyond")), "{beyond:?}");
        let huge = refused(r#"{"payload": {"layers": [{"weights": [1e309]}]}}"#);
        assert!(matches!(&huge, Error::Payload(what) if what.contains("weights[0]: number out of range")));
        let envelope = refused(r#"{"inputs": [[1], [2, true]]}"#);
        assert!(matches!(&envelope, Error::Document(what) if what.starts_with("inputs[1][1]: invalid type")));
        for text in ["", "  ", "[]", "{\"a\": 1} x", "{\"payload\": {\"layers\": [{\"weights\": [NaN]}]}}", "{\"a\": "]
        {
            assert!(matches!(refused(text), Error::Document(_)), "{text}");
        }
        assert!(matches!(refused(""), Error::Document(what) if what == "stdin JSON required"));
        assert!(matches!(refused(r#"{"payload": {"dim": 1.0}}"#), Error::Payload(_)));
    }
}
