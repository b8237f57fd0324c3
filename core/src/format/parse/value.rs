//! Values of records, and where a layer stands while it is read.

#![forbid(unsafe_code)]

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};

use super::{Context, Reading, record};
use crate::format::fault::Fault;
use crate::format::path::Step;
use crate::format::record::{Shape, Value};

/// A value of one shape; `None` for null, where the reading lets it leave the default.
pub(super) struct ValueSeed<'a>(pub(super) &'a Context, pub(super) Shape, pub(super) &'a Inside<'a>);

/// Where a layer stands while it is read.
pub(super) struct Inside<'a> {
    pub(super) outer: Option<(&'a Inside<'a>, Step)>,
    pub(super) top: usize,
}

impl Inside<'_> {
    /// How many layers are around it.
    pub(super) fn depth(&self) -> u64 {
        self.outer.map_or(0, |(outer, _)| outer.depth() + 1)
    }

    pub(super) fn steps(&self) -> Vec<Step> {
        match self.outer {
            Some((outer, step)) => outer.steps().into_iter().chain([step]).collect(),
            None => Vec::new(),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.1 {
            Shape::Int => "an integer",
            Shape::Float => "a number",
            Shape::Bool => "true or false",
            Shape::Text => "a string",
            Shape::Ints | Shape::Bools | Shape::Layers | Shape::Rules => "a list",
            Shape::Layer => "a layer",
        })
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<Self::Value, E> {
        self.0.null("a value", None)
    }

    fn visit_bool<E: serde::de::Error>(self, v: bool) -> std::result::Result<Self::Value, E> {
        match self.1 {
            Shape::Bool => Ok(v.then_some(Value::Set)),
            _ => Err(E::invalid_type(serde::de::Unexpected::Bool(v), &self)),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, v: i64) -> std::result::Result<Self::Value, E> {
        match self.1 {
            Shape::Int if v < 0 && self.0.reading != Reading::Loom => {
                Err(self.0.fail(Fault::Config, format!("{v} where a size or a count is needed")))
            }
            Shape::Int => Ok(Some(Value::Int(v))),
            Shape::Float => Ok(Some(Value::Float(v as f64))),
            Shape::Text if self.0.reading == Reading::Builder => Ok(Some(Value::Text(v.to_string().into()))),
            _ => Err(E::invalid_type(serde::de::Unexpected::Signed(v), &self)),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, v: u64) -> std::result::Result<Self::Value, E> {
        match (i64::try_from(v), self.1) {
            (Err(_), Shape::Int) => Err(self.0.fail(Fault::Limit, format!("{v} is beyond any size"))),
            (Err(_), Shape::Float) => Ok(Some(Value::Float(v as f64))),
            (Err(_), _) => Err(E::invalid_type(serde::de::Unexpected::Unsigned(v), &self)),
            (Ok(v), _) => self.visit_i64(v),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> std::result::Result<Self::Value, E> {
        match self.1 {
            Shape::Float => Ok(Some(Value::Float(v))),
            _ => Err(E::invalid_type(serde::de::Unexpected::Float(v), &self)),
        }
    }

    fn visit_str<E: serde::de::Error>(self, v: &str) -> std::result::Result<Self::Value, E> {
        match self.1 {
            Shape::Text => Ok(Some(Value::Text(v.into()))),
            _ => Err(E::invalid_type(serde::de::Unexpected::Str(v), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Self::Value, A::Error> {
        let ValueSeed(ctx, shape, at) = self;
        Ok(Some(match shape {
            Shape::Ints => {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Value::Ints(items)
            }
            Shape::Bools => {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Value::Bools(items)
            }
            Shape::Rules => {
                let mut rules = Vec::new();
                while let Some(rule) = list.next_element_seed(record::RuleSeed(ctx))? {
                    rules.push(rule);
                }
                Value::Rules(rules)
            }
            _ => {
                ctx.fault.set(Some(Fault::Json));
                return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &ValueSeed(ctx, shape, at)));
            }
        }))
    }
}
