//! The header of an `.entity`: topology, transformer section, blob index.

#![forbid(unsafe_code)]

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::record::single;
use super::{Context, Entry, Header, Inside, Reading, TopologySeed, ValueSeed};
use crate::format::fault::Fault;
use crate::format::record::{Shape, Value};
use crate::format::transformer::{Decoder, Dims};

/// The whole header.
pub(super) struct HeaderSeed<'a>(pub(super) &'a Context);

impl<'de> DeserializeSeed<'de> for HeaderSeed<'_> {
    type Value = Header;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed<'_> {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header")
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<Self::Value, E> {
        self.0.null("a header", Header::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
        const NAMES: [&str; 4] = ["format_version", "network", "blobs", "transformer"];
        let (ctx, mut header, mut seen) = (self.0, Header::default(), Vec::new());
        let at = Inside { outer: None, top: 0 };
        while let Some(index) = ctx.next(&mut map, NAMES.into_iter(), &mut seen)? {
            match index {
                0 => match map.next_value_seed(ValueSeed(ctx, Shape::Int, &at))? {
                    Some(Value::Int(v)) if v != 1 && ctx.reading != Reading::Loom || !(0..=65_535).contains(&v) => {
                        return Err(ctx.fail(Fault::Version, format!("format_version is {v}; expected 1")));
                    }
                    _ => {}
                },
                1 => header.document = map.next_value_seed(TopologySeed(ctx))?,
                2 => header.entries = map.next_value_seed(EntriesSeed(ctx))?,
                _ => header.decoder = map.next_value_seed(DecoderSeed(ctx))?,
            }
        }
        ctx.complete("the header", NAMES.into_iter().enumerate().take(3), &seen)?;
        Ok(header)
    }
}

struct EntriesSeed<'a>(&'a Context);

impl<'de> DeserializeSeed<'de> for EntriesSeed<'_> {
    type Value = Vec<Entry>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EntriesSeed<'_> {
    type Value = Vec<Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of blobs or null")
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element_seed(EntrySeed(self.0))? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

struct EntrySeed<'a>(&'a Context);

impl<'de> DeserializeSeed<'de> for EntrySeed<'_> {
    type Value = Entry;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntrySeed<'_> {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a blob")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Entry, A::Error> {
        const NAMES: [&str; 6] = ["path", "offset", "length", "dtype", "native", "scale"];
        let (ctx, mut entry, mut seen) = (self.0, Entry::default(), Vec::new());
        let at = Inside { outer: None, top: 0 };
        while let Some(index) = ctx.next(&mut map, NAMES.into_iter(), &mut seen)? {
            if matches!(index, 1 | 2) {
                // They may use all 64 bits; their sum is checked against the file.
                let place: u64 = map.next_value()?;
                *(if index == 1 { &mut entry.offset } else { &mut entry.length }) = place;
                continue;
            }
            let shape = match index {
                0 | 3 => Shape::Text,
                4 => Shape::Bool,
                _ => Shape::Float,
            };
            match (index, map.next_value_seed(ValueSeed(ctx, shape, &at))?) {
                (0, Some(Value::Text(text))) => entry.path = text.to_string(),
                (3, Some(Value::Text(text))) => entry.dtype = text.to_string(),
                (4, value) => entry.native = value.is_some(),
                (5, Some(Value::Float(v))) => entry.scale = single(ctx, v)?,
                _ => {}
            }
        }
        ctx.complete(format_args!("the blob {:?}", entry.path), NAMES.into_iter().enumerate().take(5), &seen)?;
        Ok(entry)
    }
}

struct DecoderSeed<'a>(&'a Context);

impl<'de> DeserializeSeed<'de> for DecoderSeed<'_> {
    type Value = Option<(Decoder, Option<Dims>)>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DecoderSeed<'_> {
    type Value = Option<(Decoder, Option<Dims>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a transformer section")
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<Self::Value, E> {
        self.0.null("a transformer section", None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let (ctx, mut decoder, mut dims, mut seen) = (self.0, Decoder::default(), None, Vec::new());
        let names = Decoder::KEYS.iter().map(|(name, ..)| *name).chain(["dims"]);
        while let Some(index) = ctx.next(&mut map, names.clone(), &mut seen)? {
            match Decoder::KEYS.get(index) {
                None => dims = Some(map.next_value_seed(DimsSeed(ctx))?),
                Some((_, shape, _)) => ctx.section(&mut map, *shape, |v| decoder.set(index, v))?,
            }
        }
        ctx.complete("the transformer section", always(Decoder::KEYS), &seen)?;
        Ok(Some((decoder, dims)))
    }
}

struct DimsSeed<'a>(&'a Context);

impl<'de> DeserializeSeed<'de> for DimsSeed<'_> {
    type Value = Dims;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for DimsSeed<'_> {
    type Value = Dims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the dims of a transformer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Dims, A::Error> {
        let (ctx, mut dims, mut seen) = (self.0, Dims::default(), Vec::new());
        let names = Dims::KEYS.iter().map(|(name, ..)| *name);
        while let Some(index) = ctx.next(&mut map, names.clone(), &mut seen)? {
            ctx.section(&mut map, Dims::KEYS[index].1, |v| dims.set(index, v))?;
        }
        ctx.complete("the dims", always(Dims::KEYS), &seen)?;
        Ok(dims)
    }
}

impl Context {
    /// Reads one value of a section.
    fn section<'de, A: MapAccess<'de>>(
        &self,
        map: &mut A,
        shape: Shape,
        set: impl FnOnce(Value),
    ) -> std::result::Result<(), A::Error> {
        let at = Inside { outer: None, top: 0 };
        if let Some(value) = map.next_value_seed(ValueSeed(self, shape, &at))? {
            set(value);
        }
        Ok(())
    }
}

/// The keys that files always have.
fn always(keys: &'static [(&'static str, Shape, bool)]) -> impl Iterator<Item = (usize, &'static str)> {
    keys.iter().enumerate().filter(|(_, (.., always))| *always).map(|(i, (name, ..))| (i, *name))
}
