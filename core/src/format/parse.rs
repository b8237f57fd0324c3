//! Reads the JSON of checkpoints: the header of `.entity` version 1, and JSON checkpoints.
//!
//! The strict reading takes what the original and we write, in any white space and letter case
//! of names; everything else is an error with its place. The reading of the original takes what
//! Loom 0.80 takes: unknown names become its defaults, unknown keys are passed over, cells that
//! are not mentioned are filled in.
//!
//! Nothing is allocated beyond a small multiple of the text.

#![forbid(unsafe_code)]

mod header;
mod record;
mod value;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};

use self::value::{Inside, ValueSeed};
use super::budget::Purse;
use super::fault::Fault;
use super::path::Step;
use super::record::{ACTIVATIONS, Record, SOFTMAXES, Shape, Value, find_activation};
use super::transformer::{Decoder, Dims};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::layers::Activation;

/// The deepest nesting of brackets that is read.
pub(super) const DEEPEST: usize = 64;

/// What a reader takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// What the original and we write; anything else is an error.
    #[default]
    Strict,
    /// Also what the original's network builder takes: codes in place of names, and the keys that
    /// checkpoints do not have.
    Builder,
    /// What Loom 0.80 takes, with its defaults in place of what it does not understand. Lengths,
    /// offsets and bounds are held to all the same.
    Loom,
}

/// Which document is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DocumentKind {
    /// The header of an `.entity`: weights stand in blobs.
    Entity,
    /// A JSON checkpoint: weights stand in the layers.
    Json,
}

/// Weights of one layer in a JSON checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Native {
    /// Position among the `layers`, in the document's order.
    pub(super) top: usize,
    pub(super) steps: Vec<Step>,
    pub(super) bytes: Vec<u8>,
    pub(super) native: bool,
    pub(super) scale: Option<f32>,
}

/// A topology as a document has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Document {
    /// depth, rows, cols, layers_per_cell.
    pub(super) extents: [i64; 4],
    pub(super) records: Vec<Record>,
    pub(super) natives: Vec<Native>,
}

/// One entry of the blob index.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) dtype: String,
    pub(super) scale: f32,
    pub(super) native: bool,
}

/// The header of an `.entity`.
#[derive(Clone, Debug, Default)]
pub(super) struct Header {
    pub(super) document: Document,
    pub(super) decoder: Option<(Decoder, Option<Dims>)>,
    pub(super) entries: Vec<Entry>,
}

/// Reads a topology document.
pub(super) fn document(text: &[u8], reading: Reading, kind: DocumentKind, purse: Purse) -> Result<(Document, Purse)> {
    read(text, reading, kind, purse, &|at| place_in_lines(text, at), |ctx, json| ctx.topology(json))
}

/// Reads the header of an `.entity`, which starts at byte `base` of its file.
pub(super) fn header(text: &[u8], base: u64, reading: Reading, purse: Purse) -> Result<(Header, Purse)> {
    let place = |at: usize| format!("byte {}", base + at as u64);
    read(text, reading, DocumentKind::Entity, purse, &place, |ctx, json| header::HeaderSeed(ctx).deserialize(json))
}

type Json<'a, 'de> = &'a mut serde_json::Deserializer<serde_json::de::SliceRead<'de>>;

fn read<T>(
    text: &[u8],
    reading: Reading,
    kind: DocumentKind,
    purse: Purse,
    place: &dyn Fn(usize) -> String,
    parse: impl for<'de> Fn(&Context, Json<'_, 'de>) -> serde_json::Result<T>,
) -> Result<(T, Purse)> {
    check_nesting(text).map_err(|at| Fault::Nesting.at(place(at), format!("brackets nest deeper than {DEEPEST}")))?;
    let text = match std::str::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        // The original replaces what is not UTF-8.
        Err(_) if reading == Reading::Loom => String::from_utf8_lossy(text),
        Err(e) => return Err(Fault::Json.at(place(e.valid_up_to()), "the text is not UTF-8 here")),
    };
    let bytes = text.as_bytes();
    let ctx =
        Context { reading, kind, fault: Cell::new(None), natives: RefCell::default(), purse: RefCell::new(purse) };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = parse(&ctx, &mut json).and_then(|parsed| json.end().map(|()| parsed));
    let parsed = parsed.map_err(|e| {
        let fault = ctx.fault.get().unwrap_or(Fault::Json);
        let what = e.to_string();
        let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
        fault.at(place(offset(bytes, e.line(), e.column())), what)
    })?;
    Ok((parsed, ctx.purse.into_inner()))
}

/// The offset of a line and column as serde_json counts them.
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let start = text.split_inclusive(|&b| b == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum::<usize>();
    (start + column.saturating_sub(1)).min(text.len())
}

fn place_in_lines(text: &[u8], at: usize) -> String {
    let before = &text[..at.min(text.len())];
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&b| b != b'\n').count() + 1;
    format!("line {line} column {column}")
}

/// `Err` with the offset where brackets outside strings nest too deep.
fn check_nesting(text: &[u8]) -> std::result::Result<(), usize> {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at += 1;
                // Strings may be long: weights are.
                while let Some(end) = memchr::memchr2(b'"', b'\\', text.get(at..).unwrap_or_default()) {
                    at += end;
                    if text[at] == b'"' {
                        break;
                    }
                    at += 2;
                }
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(at);
        }
        at += 1;
    }
    Ok(())
}

/// What every part of one reading shares.
struct Context {
    reading: Reading,
    kind: DocumentKind,
    /// The class of the error that a seed has raised.
    fault: Cell<Option<Fault>>,
    natives: RefCell<Vec<Native>>,
    purse: RefCell<Purse>,
}

impl Context {
    /// Takes the price of what is about to be made from the budget.
    fn spend<E: serde::de::Error>(&self, price: u64) -> std::result::Result<(), E> {
        match self.purse.borrow_mut().spend("", price) {
            Err(Error::Format { fault, what, .. }) => Err(self.fail(fault, what)),
            _ => Ok(()),
        }
    }

    fn fail<E: serde::de::Error>(&self, fault: Fault, what: impl fmt::Display) -> E {
        self.fault.set(Some(fault));
        E::custom(what)
    }

    /// The index of a key among `names`, as this reading matches keys; `None` passes over it.
    fn key<E: serde::de::Error>(
        &self,
        key: &str,
        names: impl Iterator<Item = &'static str> + Clone,
        seen: &mut Vec<usize>,
    ) -> std::result::Result<Option<usize>, E> {
        let exact = names.clone().position(|name| name == key);
        let found = match self.reading {
            Reading::Loom => exact.or_else(|| names.clone().position(|name| name.eq_ignore_ascii_case(key))),
            _ => exact,
        };
        match found {
            None if self.reading == Reading::Loom => Ok(None),
            None => Err(self.fail(Fault::Key, format!("unknown key {key:?}"))),
            Some(i) if seen.contains(&i) && self.reading != Reading::Loom => {
                Err(self.fail(Fault::Key, format!("key {key:?} is there twice")))
            }
            Some(i) => {
                seen.push(i);
                Ok(Some(i))
            }
        }
    }

    /// The next key of an object that this reading knows, as an index among `names`; unknown ones
    /// are passed over with their values, where the reading lets them.
    fn next<'de, A: MapAccess<'de>>(
        &self,
        map: &mut A,
        names: impl Iterator<Item = &'static str> + Clone,
        seen: &mut Vec<usize>,
    ) -> std::result::Result<Option<usize>, A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match self.key(&key, names.clone(), seen)? {
                Some(index) => return Ok(Some(index)),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(None)
    }

    /// `Err` when a key that files always have was not seen; `needed` are those, by index.
    fn complete<E: serde::de::Error>(
        &self,
        what: impl fmt::Display,
        needed: impl IntoIterator<Item = (usize, &'static str)>,
        seen: &[usize],
    ) -> std::result::Result<(), E> {
        match needed.into_iter().find(|(i, _)| !seen.contains(i)) {
            Some((_, name)) if self.reading != Reading::Loom => {
                Err(self.fail(Fault::Key, format!("{what} has no key {name:?}")))
            }
            _ => Ok(()),
        }
    }

    /// What null stands for: the default where the reading lets it, otherwise an error.
    fn null<T, E: serde::de::Error>(&self, what: &str, default: T) -> std::result::Result<T, E> {
        match self.reading {
            Reading::Loom => Ok(default),
            _ => Err(self.fail(Fault::Json, format!("null where {what} is needed"))),
        }
    }

    fn topology<'de, D: Deserializer<'de>>(&self, json: D) -> std::result::Result<Document, D::Error> {
        let mut document = TopologySeed(self).deserialize(json)?;
        document.natives = self.natives.take();
        Ok(document)
    }

    /// The entry of a table of names that a text means.
    fn named<T, E: serde::de::Error>(
        &self,
        what: &str,
        text: &str,
        found: Option<T>,
        otherwise: T,
    ) -> std::result::Result<T, E> {
        match (found, self.reading) {
            (Some(found), _) => Ok(found),
            (None, Reading::Loom) => Ok(otherwise),
            (None, _) => Err(self.fail(Fault::Name, format!("unknown {what} {text:?}"))),
        }
    }

    fn activation<E: serde::de::Error>(&self, text: &str) -> std::result::Result<Activation, E> {
        let code = || match (self.reading, text) {
            (Reading::Builder, "-1") => Some(Activation::Linear),
            (Reading::Builder, code) => {
                let code: usize = code.parse().ok()?;
                ACTIVATIONS.get(code).map(|(known, _)| *known)
            }
            _ => None,
        };
        self.named("activation", text, find_activation(text).or_else(code), Activation::Linear)
    }

    fn dtype<E: serde::de::Error>(&self, text: &str) -> std::result::Result<Dtype, E> {
        let none = (text.is_empty() && self.reading == Reading::Builder).then_some(Dtype::Float32);
        self.named("dtype", text, Dtype::find(text).or(none), Dtype::Float32)
    }

    fn softmax<E: serde::de::Error>(&self, text: &str) -> std::result::Result<&'static str, E> {
        let same = |name: &&&str| match self.reading {
            Reading::Builder => name.eq_ignore_ascii_case(text),
            _ => **name == text,
        };
        let code = || (self.reading == Reading::Builder).then(|| text.parse::<usize>().ok()).flatten();
        let found = SOFTMAXES.iter().find(same).or_else(|| SOFTMAXES.get(code()?)).copied();
        self.named("softmax_type", text, found, SOFTMAXES[0])
    }
}

struct TopologySeed<'a>(&'a Context);

impl<'de> DeserializeSeed<'de> for TopologySeed<'_> {
    type Value = Document;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TopologySeed<'_> {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a topology")
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<Self::Value, E> {
        self.0.null("a topology", Document::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Document, A::Error> {
        const NAMES: [&str; 6] = ["depth", "rows", "cols", "layers_per_cell", "layers", "id"];
        let (ctx, mut document, mut seen) = (self.0, Document::default(), Vec::new());
        let at = Inside { outer: None, top: 0 };
        while let Some(index) = ctx.next(&mut map, NAMES.into_iter(), &mut seen)? {
            match index {
                4 => document.records = map.next_value_seed(record::LayersSeed(ctx, None))?,
                5 => {
                    map.next_value_seed(ValueSeed(ctx, Shape::Text, &at))?;
                }
                _ => {
                    if let Some(Value::Int(v)) = map.next_value_seed(ValueSeed(ctx, Shape::Int, &at))? {
                        document.extents[index] = v;
                    }
                }
            }
        }
        ctx.complete("the topology", NAMES.into_iter().enumerate().take(5), &seen)?;
        Ok(document)
    }
}
