//! Objects of a request: what a field of a name is, and the one visitor that reads them all.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, Visitor};

use super::fields::{Fields, Payload};
use super::place::Place;
use super::values::{Any, Each, Numbers, Switch, Text, Whole};

/// Where the value of a field goes, and by that what it must be.
pub(super) enum Slot<'a> {
    Text(&'a mut String),
    Size(&'a mut i64),
    Switch(&'a mut bool),
    Numbers(&'a mut Vec<f32>),
    Rows(&'a mut Vec<Vec<f32>>),
    Layers(&'a mut Vec<Fields>),
    Payload(&'a mut Option<Payload>),
}

/// An object of a request.
pub(super) trait Object: Default {
    /// What messages call it.
    const WHAT: &'static str;

    /// The slot of a field, whose name is in lower case; `None` where there is none, and the value is skipped.
    fn slot(&mut self, name: &str) -> Option<Slot<'_>>;

    /// Whether a field stands in the payload, where it is not that of an object around it.
    fn in_payload(_name: &str) -> Option<bool> {
        None
    }
}

impl Slot<'_> {
    /// Reads the value. The last of several fields of one name counts.
    fn fill<'de, A: MapAccess<'de>>(self, map: &mut A, place: &Place) -> Result<(), A::Error> {
        match self {
            Slot::Text(text) => *text = map.next_value_seed(Any(Text))?,
            Slot::Size(size) => *size = map.next_value_seed(Any(Whole))?,
            Slot::Switch(on) => *on = map.next_value_seed(Any(Switch))?,
            Slot::Numbers(numbers) => *numbers = map.next_value_seed(Any(Numbers(place)))?,
            Slot::Rows(rows) => {
                let at = |i| place.row.set(i);
                *rows = map.next_value_seed(Any(Each { what: "rows", at, visitor: || Numbers(place) }))?;
            }
            Slot::Layers(layers) => {
                let at = |i| {
                    place.layer.set(i);
                    place.name("layers");
                };
                let visitor = || ObjectVisitor::of(place);
                *layers = map.next_value_seed(Any(Each { what: "an array of layers", at, visitor }))?;
            }
            Slot::Payload(payload) => *payload = Some(map.next_value_seed(Any(ObjectVisitor::of(place)))?),
        }
        Ok(())
    }
}

/// Reads an object whose fields are named in any letter case; `null` is an object without fields.
pub(super) struct ObjectVisitor<'a, T> {
    place: &'a Place,
    object: PhantomData<T>,
}

impl<'a, T> ObjectVisitor<'a, T> {
    pub(super) fn of(place: &'a Place) -> Self {
        Self { place, object: PhantomData }
    }
}

impl<'de, T: Object> Visitor<'de> for ObjectVisitor<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut object = T::default();
        while let Some(mut name) = map.next_key::<String>()? {
            name.make_ascii_lowercase();
            if let Some(within) = T::in_payload(&name) {
                self.place.in_payload.set(within);
            }
            match object.slot(&name) {
                Some(slot) => {
                    self.place.name(&name);
                    slot.fill(&mut map, self.place)?;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(object)
    }
}
