//! How much a reader makes of a file: what is read is bounded by the file's length, what is made
//! of it by this.

#![forbid(unsafe_code)]

use super::fault::{Fault, ensure};
use super::record::{Record, Value};
use crate::error::Result;

/// How much a file may describe, in bytes of memory beside its weights: `bytes`, and `per_byte` for
/// each byte of the file. A record that is repeated counts each time, with all that stands in it,
/// because everything that is made of a checkpoint (a network, text, another file) has it each time.
///
/// The prices are round figures above what reading and building a network takes: for each layer
/// [`Budget::LAYER`] and what its values take, and a quarter of both for each container around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What even the smallest file may describe.
    pub bytes: u64,
    /// What each byte of a file adds.
    pub per_byte: u64,
}

impl Budget {
    /// The price of a layer.
    pub const LAYER: u64 = 1 << 10;

    /// What a file of `len` bytes may describe.
    pub(super) fn open(self, len: u64) -> Purse {
        let total = self.bytes.saturating_add(self.per_byte.saturating_mul(len));
        Purse { total, left: total, len }
    }
}

/// 64 MiB, and 64 bytes for each byte of the file.
impl Default for Budget {
    fn default() -> Self {
        Self { bytes: 64 << 20, per_byte: 64 }
    }
}

/// What is left of a budget while a file is read.
#[derive(Clone, Debug)]
pub(super) struct Purse {
    total: u64,
    left: u64,
    len: u64,
}

impl Purse {
    /// `Err` when the budget does not have `bytes` any more.
    pub(super) fn spend(&mut self, place: impl std::fmt::Display, bytes: u64) -> Result<()> {
        ensure(bytes <= self.left, || {
            let (total, len) = (self.total, self.len);
            let what = format!("{len} bytes describe layers, repeated ones counted, that take more than {total} bytes");
            Fault::Limit.at(place, format!("{what} of memory; raise the budget of reading for a file that is trusted"))
        })?;
        self.left -= bytes;
        Ok(())
    }
}

impl Record {
    /// The price of the layer and of all inside it; `depth` containers are around it.
    pub(super) fn price(&self, depth: u64) -> u64 {
        let inside = self.children().map(|(_, child)| child.price(depth + 1));
        inside.fold(at_depth(self.own_price(), depth), u64::saturating_add)
    }

    /// The price of the layer alone, not in a container.
    pub(super) fn own_price(&self) -> u64 {
        self.fields().iter().fold(Budget::LAYER, |sum, (_, value)| sum.saturating_add(value.price()))
    }
}

/// The price of a layer that `depth` containers hold: each keeps a description of it.
pub(super) fn at_depth(price: u64, depth: u64) -> u64 {
    price.saturating_add((price / 4).saturating_mul(depth))
}

impl Value {
    fn price(&self) -> u64 {
        match self {
            // Part of the layer's own.
            Value::Int(_) | Value::Float(_) | Value::Set | Value::Layer(_) | Value::Layers(_) => 0,
            // A name is part of the layer's own; as text a byte becomes six at most.
            Value::Text(text) => 8 * (text.len() as u64).saturating_sub(32),
            Value::Ints(list) => 32 * list.len() as u64,
            Value::Bools(list) => 32 * list.len() as u64,
            Value::Rules(list) => 512 * list.len() as u64,
        }
    }
}
