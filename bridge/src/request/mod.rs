//! Reads a request in one pass. Field names match without regard to case, unknown fields are
//! skipped, `null` means absent; an array of numbers becomes f32 as it is read.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use serde::de::{DeserializeSeed as _, IgnoredAny, MapAccess, Visitor};

use crate::seeds::{Any, Each, Numbers, Place, Switch, Text, Whole};

/// Sizes of a payload or a layer.
const SIZES: [&str; 30] = [
    "index",
    "input_dim",
    "output_dim",
    "input_channels",
    "in_channels",
    "filters",
    "input_length",
    "input_height",
    "input_width",
    "input_depth",
    "kernel_size",
    "stride",
    "padding",
    "seq_len",
    "height",
    "width",
    "depth",
    "d_model",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "input_size",
    "hidden_size",
    "dim",
    "vocab_size",
    "embed_dim",
    "embedding_dim",
    "intermediate_dim",
    "output_length",
    "channels",
];

/// Arrays of a layer.
const ARRAYS: [&str; 14] = [
    "weights",
    "bias",
    "q_weights",
    "k_weights",
    "v_weights",
    "o_weights",
    "q_bias",
    "k_bias",
    "v_bias",
    "o_bias",
    "i_weights",
    "f_weights",
    "g_weights",
    "inputs",
];

/// Texts of a request, its payload or a layer.
const TEXTS: [&str; 9] = [
    "bedrock",
    "root",
    "models_dir",
    "fixtures_dir",
    "fixture_version",
    "output_path",
    "planet",
    "model_id",
    "activation",
];

/// Why a request is refused; the two are told on different channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The document or its envelope cannot be read, or a number is not finite.
    Document(String),
    /// What the payload asks for cannot be done.
    Stream(String),
}

/// One layer of a payload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer {
    /// The bedrock it belongs to; may be empty outside the mixer.
    pub kind: String,
    /// Its activation; empty means none.
    pub activation: String,
    sizes: BTreeMap<&'static str, i64>,
    arrays: BTreeMap<&'static str, Vec<f32>>,
}

impl Layer {
    /// A size; 0 where the layer does not say it.
    #[must_use]
    pub fn size(&self, name: &str) -> i64 {
        self.sizes.get(name).copied().unwrap_or(0)
    }

    /// An array; empty where the layer has none.
    #[must_use]
    pub fn array(&self, name: &str) -> &[f32] {
        self.arrays.get(name).map_or(&[], Vec::as_slice)
    }

    /// An array, taken out of the layer.
    #[must_use]
    pub fn take(&mut self, name: &str) -> Vec<f32> {
        self.arrays.remove(name).unwrap_or_default()
    }
}

/// The layers of a live model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload {
    texts: BTreeMap<&'static str, String>,
    sizes: BTreeMap<&'static str, i64>,
    /// The layers in order.
    pub layers: Vec<Layer>,
}

impl Payload {
    /// A text; empty where the payload does not say it.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.texts.get(name).map_or("", String::as_str)
    }

    /// A size; 0 where the payload does not say it.
    #[must_use]
    pub fn size(&self, name: &str) -> i64 {
        self.sizes.get(name).copied().unwrap_or(0)
    }
}

/// A request: where things lie, what to feed, and the layers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    texts: BTreeMap<&'static str, String>,
    /// Rows to run on in place of a fixture.
    pub inputs: Vec<Vec<f32>>,
    /// Whether the file is only written.
    pub skip_infer: bool,
    /// The layers. Where the document has no `payload`, it is a payload itself.
    pub payload: Payload,
}

impl Request {
    /// A text of the envelope; empty where it does not say it.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.texts.get(name).map_or("", String::as_str)
    }

    /// Sets a text that the envelope leaves empty.
    pub fn fill(&mut self, name: &'static str, value: &str) {
        let text = self.texts.entry(name).or_default();
        if text.is_empty() {
            value.clone_into(text);
        }
    }
}

/// Reads a request.
///
/// # Errors
/// [`Refusal`] with the place and what was expected there.
pub fn read(input: impl Read) -> Result<Request, Refusal> {
    let place = Place::default();
    let mut json = serde_json::Deserializer::from_reader(input);
    let read = Any(Top(&place)).deserialize(&mut json).and_then(|request| json.end().map(|()| request));
    read.map_err(|error| {
        let out_of_range = error.is_syntax() && error.to_string().starts_with("number out of range");
        match error.classify() {
            serde_json::error::Category::Eof if error.line() == 1 && error.column() == 0 => {
                Refusal::Document("stdin JSON required".into())
            }
            serde_json::error::Category::Eof => Refusal::Document(format!("unexpected end of JSON input: {error}")),
            serde_json::error::Category::Data if place.field.get().is_empty() => Refusal::Document(error.to_string()),
            serde_json::error::Category::Data if place.beyond.get() || !place.in_payload.get() => {
                Refusal::Document(format!("{place}: {error}"))
            }
            serde_json::error::Category::Data => Refusal::Stream(format!("{place}: {error}")),
            serde_json::error::Category::Syntax if out_of_range && place.in_payload.get() => {
                Refusal::Stream(format!("{place}: {error}"))
            }
            _ => Refusal::Document(error.to_string()),
        }
    })
}

/// The constant of a table that a name is, whatever its letter case.
fn known(table: &'static [&'static str], name: &str) -> Option<&'static str> {
    table.iter().copied().find(|known| known.eq_ignore_ascii_case(name))
}

struct LayerVisitor<'a>(&'a Place);

impl<'de> Visitor<'de> for LayerVisitor<'_> {
    type Value = Layer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a layer")
    }

    fn visit_unit<E>(self) -> Result<Layer, E> {
        Ok(Layer::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Layer, A::Error> {
        let mut layer = Layer::default();
        while let Some(key) = map.next_key::<String>()? {
            if let Some(name) = known(&ARRAYS, &key) {
                self.0.field.set(name);
                layer.arrays.insert(name, map.next_value_seed(Any(Numbers(self.0)))?);
            } else if let Some(name) = known(&SIZES, &key) {
                self.0.field.set(name);
                layer.sizes.insert(name, map.next_value_seed(Any(Whole))?);
            } else if let Some(name) = known(&["kind", "activation"], &key) {
                self.0.field.set(name);
                let text = map.next_value_seed(Any(Text))?;
                *(if name == "kind" { &mut layer.kind } else { &mut layer.activation }) = text;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        self.0.field.set("layers");
        Ok(layer)
    }
}

impl Payload {
    /// Takes one field, if it is one of a payload.
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A, place: &Place) -> Result<bool, A::Error> {
        if key.eq_ignore_ascii_case("layers") {
            place.field.set("layers");
            let at = |i| place.layer.set(i);
            self.layers =
                map.next_value_seed(Any(Each { what: "an array of layers", at, visitor: || LayerVisitor(place) }))?;
        } else if let Some(name) = known(&SIZES, key) {
            place.field.set(name);
            self.sizes.insert(name, map.next_value_seed(Any(Whole))?);
        } else if let Some(name) = known(&TEXTS, key) {
            place.field.set(name);
            self.texts.insert(name, map.next_value_seed(Any(Text))?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

struct PayloadVisitor<'a>(&'a Place);

impl<'de> Visitor<'de> for PayloadVisitor<'_> {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a layer stream")
    }

    fn visit_unit<E>(self) -> Result<Payload, E> {
        Ok(Payload::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload, A::Error> {
        let mut payload = Payload::default();
        while let Some(key) = map.next_key::<String>()? {
            if !payload.field(&key, &mut map, self.0)? {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(payload)
    }
}

struct Top<'a>(&'a Place);

impl<'de> Visitor<'de> for Top<'_> {
    type Value = Request;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request: an object with a payload")
    }

    fn visit_unit<E>(self) -> Result<Request, E> {
        Ok(Request::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Request, A::Error> {
        let place = self.0;
        let (mut request, mut payload) = (Request::default(), None);
        while let Some(key) = map.next_key::<String>()? {
            if key.eq_ignore_ascii_case("payload") {
                place.in_payload.set(true);
                place.field.set("payload");
                payload = Some(map.next_value_seed(Any(PayloadVisitor(place)))?);
            } else if key.eq_ignore_ascii_case("inputs") {
                place.field.set("inputs");
                let at = |i| place.row.set(i);
                request.inputs = map.next_value_seed(Any(Each { what: "rows", at, visitor: || Numbers(place) }))?;
            } else if key.eq_ignore_ascii_case("skip_infer") {
                place.field.set("skip_infer");
                request.skip_infer = map.next_value_seed(Any(Switch))?;
            } else if let Some(name) = known(&TEXTS[..6], &key) {
                place.field.set(name);
                request.texts.insert(name, map.next_value_seed(Any(Text))?);
            } else {
                // The document may be a payload itself.
                place.in_payload.set(true);
                if !request.payload.field(&key, &mut map, place)? {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            place.in_payload.set(false);
        }
        match payload {
            Some(payload) => request.payload = payload,
            None => request.payload.texts.extend(request.texts.clone()),
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Refusal {
        read(text.as_bytes()).expect_err("refused")
    }

    #[test]
    fn names_match_in_any_case_and_null_is_absent() {
        let text = r#"{"BEDROCK": "dense", "Inputs": [[1, null]], "skip_infer": null, "other": {"a": [1]},
            "payload": {"Planet": "p", "layers": [{"Weights": [1, 2.5], "index": null}]}}"#;
        let mut request = read(text.as_bytes()).expect("a request");
        assert_eq!((request.text("bedrock"), request.payload.text("planet")), ("dense", "p"));
        assert_eq!((request.inputs.clone(), request.skip_infer), (vec![vec![1.0, 0.0]], false));
        assert_eq!(request.payload.layers[0].take("weights"), [1.0, 2.5]);
    }

    #[test]
    fn a_bare_stream_is_its_own_payload() {
        let request = read(r#"{"bedrock": "rnn", "output_path": "o", "dim": 3, "layers": [{}]}"#.as_bytes());
        let request = request.expect("a request");
        assert_eq!((request.payload.text("bedrock"), request.payload.size("dim")), ("rnn", 3));
        assert_eq!((request.text("output_path"), request.payload.layers.len()), ("o", 1));
    }

    #[test]
    fn errors_name_their_place_and_channel() {
        let stream = refused(r#"{"payload": {"layers": [{}, {"q_bias": [1, "a"]}]}}"#);
        assert!(
            matches!(&stream, Refusal::Stream(what) if what.starts_with("payload.layers[1].q_bias[1]: invalid type"))
        );
        let beyond = refused(r#"{"payload": {"layers": [{"weights": [1e39]}]}}"#);
        assert!(
            matches!(&beyond, Refusal::Document(what) if what.contains("weights[0]: 1e39 is beyond")),
            "{beyond:?}"
        );
        let huge = refused(r#"{"payload": {"layers": [{"weights": [1e309]}]}}"#);
        assert!(matches!(&huge, Refusal::Stream(what) if what.contains("weights[0]: number out of range")));
        let envelope = refused(r#"{"inputs": [[1], [2, true]]}"#);
        assert!(matches!(&envelope, Refusal::Document(what) if what.starts_with("inputs[1][1]: invalid type")));
        for text in ["", "  ", "[]", "{\"a\": 1} x", "{\"payload\": {\"layers\": [{\"weights\": [NaN]}]}}", "{\"a\": "]
        {
            assert!(matches!(refused(text), Refusal::Document(_)), "{text}");
        }
        assert_eq!(refused(""), Refusal::Document("stdin JSON required".into()));
        assert!(matches!(refused(r#"{"payload": {"dim": 1.0}}"#), Refusal::Stream(_)));
    }
}
