//! One layer in JSON, with those inside it and its rules.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Context, DocumentKind, Inside, Native, Reading, ValueSeed};
use crate::format::budget::{Budget, at_depth};
use crate::format::fault::Fault;
use crate::format::path::Step;
use crate::format::record::{Key, Record, RuleRecord, SOFTMAXES, Shape, Value, find_kind};
use crate::layers::{Activation, LayerKind};

/// The layers of the grid, or the branches or steps of a container.
pub(super) struct LayersSeed<'a>(pub(super) &'a Context, pub(super) Option<Within<'a>>);

/// A container and how it names what it holds.
pub(super) struct Within<'a>(&'a Inside<'a>, fn(usize) -> Step);

impl<'de> DeserializeSeed<'de> for LayersSeed<'_> {
    type Value = Vec<Record>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for LayersSeed<'_> {
    type Value = Vec<Record>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of layers")
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<Self::Value, E> {
        self.0.null("a list of layers", Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Self::Value, A::Error> {
        let mut layers = Vec::new();
        loop {
            let at = match self.1 {
                Some(Within(outer, step)) => Inside { outer: Some((outer, step(layers.len()))), top: outer.top },
                None => Inside { outer: None, top: layers.len() },
            };
            match list.next_element_seed(RecordSeed(self.0, &at))? {
                Some(layer) => layers.push(layer),
                None => return Ok(layers),
            }
        }
    }
}

/// One layer.
pub(super) struct RecordSeed<'a>(pub(super) &'a Context, pub(super) &'a Inside<'a>);

impl<'de> DeserializeSeed<'de> for RecordSeed<'_> {
    type Value = Record;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

/// The keys of a layer that are no [`Key`].
const FIXED: [&str; 10] = ["z", "y", "x", "l", "type", "activation", "dtype", "weights", "native", "scale"];

impl<'de> Visitor<'de> for RecordSeed<'_> {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a layer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Record, A::Error> {
        let RecordSeed(ctx, at) = self;
        ctx.spend(at_depth(Budget::LAYER, at.depth()))?;
        let mut record = Record::new(LayerKind::Dense, Activation::Linear);
        let mut seen = Vec::new();
        let (mut weights, mut native, mut scale) = (None, false, None);
        let names = FIXED.into_iter().chain(Key::ALL.iter().map(|key| key.name()));
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let Some(index) = ctx.key(&key, names.clone(), &mut seen)? else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let mut scalar = |shape| map.next_value_seed(ValueSeed(ctx, shape, at));
            let allowed = match index {
                7..=9 => ctx.kind == DocumentKind::Json,
                10.. => ctx.reading == Reading::Builder || Key::ALL[index - 10].since() == 1,
                _ => true,
            };
            if !allowed {
                if ctx.reading == Reading::Loom {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                return Err(ctx.fail(Fault::Key, format!("key {key:?} has no place in this format")));
            }
            match index {
                0..=3 => {
                    if let Some(Value::Int(v)) = scalar(Shape::Int)? {
                        record.at[index] = v;
                    }
                }
                4..=6 => {
                    let Some(Value::Text(text)) = scalar(Shape::Text)? else { continue };
                    match index {
                        4 => record.kind = ctx.named("layer type", &text, find_kind(&text), LayerKind::Dense)?,
                        5 => record.activation = ctx.activation(&text)?,
                        _ => record.dtype = ctx.dtype(&text)?,
                    }
                }
                7 => weights = map.next_value_seed(Base64Seed(ctx))?,
                8 => native = scalar(Shape::Bool)?.is_some(),
                9 => {
                    let Some(Value::Float(v)) = scalar(Shape::Float)? else { continue };
                    scale = Some(single(ctx, v)?);
                }
                _ => {
                    let key = Key::ALL[index - 10];
                    let value = match key {
                        Key::ParallelBranches => {
                            Some(Value::Layers(map.next_value_seed(LayersSeed(ctx, Some(Within(at, Step::Branch))))?))
                        }
                        Key::SequentialLayers => Some(Value::Layers(
                            map.next_value_seed(LayersSeed(ctx, Some(Within(at, Step::Sequential))))?,
                        )),
                        Key::MetaObservedLayer | Key::FilterGate => {
                            let step = if key == Key::FilterGate { Step::Gate } else { Step::Observed };
                            let inner = Inside { outer: Some((at, step)), top: at.top };
                            map.next_value_seed(OptionalSeed(ctx, &inner))?.map(|layer| Value::Layer(Box::new(layer)))
                        }
                        _ => scalar(key.shape())?,
                    };
                    match value {
                        // The original takes any length below 1 for 1.
                        Some(Value::Int(v)) if v < 0 && key != Key::SeqLength => {
                            return Err(
                                ctx.fail(Fault::Config, format!("{} is {v}; sizes are not negative", key.name()))
                            );
                        }
                        Some(Value::Text(text)) if key == Key::SoftmaxType => {
                            let name = if text.is_empty() && ctx.reading != Reading::Strict {
                                SOFTMAXES[0]
                            } else {
                                ctx.softmax(&text)?
                            };
                            record.set_text(key, name);
                        }
                        Some(value) => record.set(key, value),
                        // A false that is written out.
                        None if key.shape() == Shape::Bool => record.remove(key),
                        None => {}
                    }
                }
            }
        }
        ctx.spend(at_depth(record.own_price() - Budget::LAYER, at.depth()))?;
        if ctx.reading == Reading::Strict && !seen.contains(&4) {
            return Err(ctx.fail(Fault::Key, "the layer has no key \"type\""));
        }
        if weights.is_some() || (scale.is_some() && ctx.kind == DocumentKind::Json) {
            let bytes = weights.unwrap_or_default();
            ctx.natives.borrow_mut().push(Native { top: at.top, steps: at.steps(), bytes, native, scale });
        }
        Ok(record)
    }
}

/// A layer or, for readers that let it be, null.
struct OptionalSeed<'a>(&'a Context, &'a Inside<'a>);

impl<'de> DeserializeSeed<'de> for OptionalSeed<'_> {
    type Value = Option<Record>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OptionalSeed<'_> {
    type Value = Option<Record>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a layer")
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<Self::Value, E> {
        self.0.null("a layer", None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Self::Value, A::Error> {
        RecordSeed(self.0, self.1).visit_map(map).map(Some)
    }
}

/// A number as a single, unless it is beyond one.
pub(super) fn single<E: serde::de::Error>(ctx: &Context, v: f64) -> std::result::Result<f32, E> {
    match v as f32 {
        single if single.is_finite() => Ok(single),
        _ => Err(ctx.fail(Fault::Json, format!("{v:e} is beyond the range of float32"))),
    }
}

struct Base64Seed<'a>(&'a Context);

impl<'de> DeserializeSeed<'de> for Base64Seed<'_> {
    type Value = Option<Vec<u8>>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl Visitor<'_> for Base64Seed<'_> {
    type Value = Option<Vec<u8>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string of Base64")
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<Self::Value, E> {
        self.0.null("Base64", None)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Self::Value, E> {
        // The original passes over line breaks.
        let broken = memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_some();
        let joined = broken.then(|| text.replace(['\n', '\r'], ""));
        match STANDARD.decode(joined.as_deref().unwrap_or(text)) {
            Ok(bytes) if bytes.is_empty() => Ok(None),
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) => Err(self.0.fail(Fault::Base64, format!("weights are not Base64: {e}"))),
        }
    }
}

/// A rule of metacognition.
pub(super) struct RuleSeed<'a>(pub(super) &'a Context);

impl<'de> DeserializeSeed<'de> for RuleSeed<'_> {
    type Value = RuleRecord;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RuleSeed<'_> {
    type Value = RuleRecord;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rule")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<RuleRecord, A::Error> {
        const NAMES: [&str; 6] = ["Condition", "Threshold", "Command", "Param", "Cooldown", "SelfOnly"];
        let (mut rule, mut seen) = (RuleRecord::default(), Vec::new());
        let at = Inside { outer: None, top: 0 };
        while let Some(index) = self.0.next(&mut map, NAMES.into_iter(), &mut seen)? {
            let shape = match index {
                0 | 4 => Shape::Int,
                1..=3 => Shape::Float,
                _ => Shape::Bool,
            };
            match (index, map.next_value_seed(ValueSeed(self.0, shape, &at))?) {
                (0 | 4, Some(Value::Int(v))) if v < 0 => {
                    return Err(self.0.fail(Fault::Config, format!("{} is {v}; it is not negative", NAMES[index])));
                }
                (0, Some(Value::Int(v))) => rule.condition = v,
                (1, Some(Value::Float(v))) => rule.threshold = v,
                (2, Some(Value::Float(v))) => rule.command = single(self.0, v)?,
                (3, Some(Value::Float(v))) => rule.param = single(self.0, v)?,
                (4, Some(Value::Int(v))) => rule.cooldown = v,
                (5, value) => rule.self_only = value.is_some(),
                _ => {}
            }
        }
        Ok(rule)
    }
}
