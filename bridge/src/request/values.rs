//! Values of a request: texts, sizes, numbers and arrays, each of which may be `null`.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::place::Place;

/// Whatever stands there, handed to a visitor.
pub(super) struct Any<V>(pub(super) V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Any<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_any(self.0)
    }
}

/// A text or `null`.
pub(super) struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_string())
    }

    fn visit_unit<E>(self) -> Result<String, E> {
        Ok(String::new())
    }
}

/// A whole number or `null`.
pub(super) struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E>(self, n: i64) -> Result<i64, E> {
        Ok(n)
    }

    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<i64, E> {
        i64::try_from(n).map_err(|_| E::custom(format!("{n} is no size")))
    }

    fn visit_unit<E>(self) -> Result<i64, E> {
        Ok(0)
    }
}

/// `true`, `false` or `null`.
pub(super) struct Switch;

impl<'de> Visitor<'de> for Switch {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E>(self, on: bool) -> Result<bool, E> {
        Ok(on)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

/// A number that f32 holds, rounded to it; `null` is 0.
struct Number<'a>(&'a Place);

impl<'de> Visitor<'de> for Number<'_> {
    type Value = f32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: serde::de::Error>(self, wide: f64) -> Result<f32, E> {
        let value = wide as f32;
        if value.is_finite() {
            return Ok(value);
        }
        self.0.beyond.set(true);
        Err(E::custom(format!("{wide:e} is beyond the range of float32")))
    }

    fn visit_i64<E>(self, n: i64) -> Result<f32, E> {
        // Through f64, as every other number of the document.
        Ok(n as f64 as f32)
    }

    fn visit_u64<E>(self, n: u64) -> Result<f32, E> {
        Ok(n as f64 as f32)
    }

    fn visit_unit<E>(self) -> Result<f32, E> {
        Ok(0.0)
    }
}

/// An array of numbers, or `null`.
pub(super) struct Numbers<'a>(pub(super) &'a Place);

impl<'de> Visitor<'de> for Numbers<'_> {
    type Value = Vec<f32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers")
    }

    fn visit_unit<E>(self) -> Result<Vec<f32>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<f32>, A::Error> {
        let mut numbers = Vec::new();
        self.0.element.set(Some(0));
        while let Some(number) = seq.next_element_seed(Any(Number(self.0)))? {
            numbers.push(number);
            self.0.element.set(Some(numbers.len()));
        }
        self.0.element.set(None);
        Ok(numbers)
    }
}

/// An array of what a visitor reads, or `null`; `at` hears of every element before it is read.
pub(super) struct Each<F, G> {
    pub(super) what: &'static str,
    pub(super) at: F,
    pub(super) visitor: G,
}

impl<'de, S: Visitor<'de>, F: FnMut(Option<usize>), G: Fn() -> S> Visitor<'de> for Each<F, G> {
    type Value = Vec<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        (self.at)(Some(0));
        while let Some(element) = seq.next_element_seed(Any((self.visitor)()))? {
            found.push(element);
            (self.at)(Some(found.len()));
        }
        (self.at)(None);
        Ok(found)
    }
}
