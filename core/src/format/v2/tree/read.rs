//! The way back from the bytes of a topology, none of which are trusted.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use super::{POSITION, Transformer};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::format::budget::{Budget, Purse, at_depth};
use crate::format::fault::{Fault, ensure};
use crate::format::parse::DEEPEST;
use crate::format::record::{ACTIVATIONS, Key, Record, RuleRecord, SOFTMAXES, Shape, Value};
use crate::format::topology::{Topology, grid};
use crate::format::transformer::{Decoder, Dims};
use crate::layers::LayerKind;

/// Reads a topology of a file of `file` bytes; what it makes is paid from `purse`.
pub(in crate::format::v2) fn decode(
    bytes: &[u8],
    file: usize,
    purse: &mut Purse,
) -> Result<(Topology, Option<Transformer>)> {
    let mut r = Reader { bytes, at: 0, strings: Vec::new(), purse };
    let strings = r.count("strings", 1)?;
    r.spend(64 * strings as u64)?;
    for _ in 0..strings {
        let len = r.count("a string", 1)?;
        let text = std::str::from_utf8(r.take(len)?).map_err(|_| r.wrong(Fault::Name, "a string is not UTF-8"))?;
        let string = text.into();
        r.strings.push(string);
    }
    let mut extents = [0; 4];
    for extent in &mut extents {
        *extent = i64::try_from(r.varint()?).map_err(|_| r.wrong(Fault::Grid, "an extent is beyond 63 bits"))?;
    }
    let (extents, places) = grid(extents, file)?;
    let mut layers: Vec<Arc<Record>> = Vec::new();
    // What each of them costs, so that a repetition need not be added up.
    let mut prices: Vec<u64> = Vec::new();
    while layers.len() < places {
        match r.varint()? {
            0 => {
                let record = r.record(0)?;
                ensure(record.at == [0; 4], || r.wrong(Fault::Grid, "a layer of the grid names its position"))?;
                prices.push(record.price(0));
                layers.push(Arc::new(record));
            }
            distance => {
                let length = r.varint()?;
                let start = usize::try_from(distance).ok().and_then(|distance| layers.len().checked_sub(distance));
                let start = start.filter(|_| length > 0 && length <= (places - layers.len()) as u64);
                let start = start.ok_or_else(|| {
                    r.wrong(
                        Fault::Grid,
                        format!("{length} layers repeated from {distance} before, of {}", layers.len()),
                    )
                })?;
                for i in start..start + length as usize {
                    r.spend(prices[i])?;
                    prices.push(prices[i]);
                    layers.push(Arc::clone(&layers[i]));
                }
            }
        }
    }
    let decoder = match r.flag()? {
        false => None,
        true => {
            let mut decoder = Decoder::default();
            r.section(Decoder::KEYS, |i, value| decoder.set(i, value))?;
            let mut dims = None;
            if r.flag()? {
                let dims = dims.insert(Dims::default());
                r.section(Dims::KEYS, |i, value| dims.set(i, value))?;
            }
            Some((decoder, dims))
        }
    };
    ensure(r.at == bytes.len(), || r.wrong(Fault::Trailing, "bytes follow the topology"))?;
    Ok((Topology { extents, layers }, decoder))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    strings: Vec<Arc<str>>,
    purse: &'a mut Purse,
}

impl<'a> Reader<'a> {
    /// Takes the price of what is about to be made from the budget.
    fn spend(&mut self, price: u64) -> Result<()> {
        self.purse.spend(format_args!("topology byte {}", self.at), price)
    }

    fn wrong(&self, fault: Fault, what: impl fmt::Display) -> Error {
        fault.at(format!("topology byte {}", self.at), what)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| self.wrong(Fault::Truncated, format!("{n} bytes are needed here")))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.wrong(Fault::Config, format!("{other} where 0 or 1 is needed"))),
        }
    }

    /// A number in its shortest form.
    fn varint(&mut self) -> Result<u64> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 127);
            let long = shift > 63 || (shift == 63 && bits > 1) || (byte == 0 && shift > 0);
            ensure(!long, || self.wrong(Fault::Limit, "a number is longer than it needs to be, or beyond 64 bits"))?;
            value |= bits << shift;
            if byte < 128 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    fn size(&mut self) -> Result<i64> {
        let v = self.varint()?;
        i64::try_from(v).map_err(|_| self.wrong(Fault::Limit, format!("{v} is beyond any size")))
    }

    /// A number of things that take at least `bytes` bytes each, so that it can be believed.
    fn count(&mut self, what: &str, bytes: usize) -> Result<usize> {
        let n = self.varint()?;
        let most = (self.bytes.len() - self.at) / bytes;
        ensure(n <= most as u64, || {
            self.wrong(Fault::Truncated, format!("{n} of {what} where {most} at most can follow"))
        })?;
        Ok(n as usize)
    }

    fn f64(&mut self) -> Result<f64> {
        let v = f64::from_le_bytes(self.take(8)?.try_into().unwrap_or_default());
        ensure(v.is_finite(), || self.wrong(Fault::NonFinite, format!("{v} where a number is needed")))?;
        Ok(v)
    }

    fn f32(&mut self) -> Result<f32> {
        let v = f32::from_le_bytes(self.take(4)?.try_into().unwrap_or_default());
        ensure(v.is_finite(), || self.wrong(Fault::NonFinite, format!("{v} where a number is needed")))?;
        Ok(v)
    }

    fn record(&mut self, depth: usize) -> Result<Record> {
        ensure(depth <= DEEPEST, || self.wrong(Fault::Nesting, format!("layers nest deeper than {DEEPEST}")))?;
        self.spend(at_depth(Budget::LAYER, depth as u64))?;
        let [kind, activation, dtype] = [self.byte()?, self.byte()?, self.byte()?].map(usize::from);
        let unknown = |what: &str, id: usize| self.wrong(Fault::Name, format!("unknown {what} number {id}"));
        let kind = *LayerKind::ALL.get(kind).ok_or_else(|| unknown("layer type", kind))?;
        let (activation, _) = *ACTIVATIONS.get(activation).ok_or_else(|| unknown("activation", activation))?;
        let dtype = *Dtype::ALL.get(dtype).ok_or_else(|| unknown("dtype", dtype))?;
        let mut record = Record::new(kind, activation);
        record.dtype = dtype;
        let mut before = None;
        for _ in 0..self.count("fields", 1)? {
            let id = self.varint()?;
            ensure(before < Some(id), || self.wrong(Fault::Duplicate, format!("field {id} is out of order")))?;
            before = Some(id);
            if id == POSITION {
                for i in 0..4 {
                    record.at[i] = self.size()?;
                }
                ensure(record.at != [0; 4], || self.wrong(Fault::Config, "a position of zeros is left out"))?;
                continue;
            }
            let key = Key::find(id).ok_or_else(|| self.wrong(Fault::Key, format!("unknown field {id}")))?;
            let value = self.value(key.shape(), depth)?;
            if let (Key::SoftmaxType, Value::Text(text)) = (key, &value) {
                let known = SOFTMAXES[1..].contains(&&**text);
                ensure(known, || self.wrong(Fault::Name, format!("unknown softmax_type {text:?}")))?;
            }
            record.set(key, value);
            let kept = record.has(key);
            ensure(kept, || self.wrong(Fault::Config, format!("{} is a default, which is left out", key.name())))?;
        }
        self.spend(at_depth(record.own_price() - Budget::LAYER, depth as u64))?;
        record.check_configuration().map_err(|what| self.wrong(Fault::Config, what))?;
        Ok(record)
    }

    fn value(&mut self, shape: Shape, depth: usize) -> Result<Value> {
        Ok(match shape {
            Shape::Int => Value::Int(self.size()?),
            Shape::Float => Value::Float(self.f64()?),
            Shape::Bool => Value::Set,
            Shape::Text => {
                let id = self.varint()?;
                let text = usize::try_from(id).ok().and_then(|id| self.strings.get(id));
                let text =
                    text.ok_or_else(|| self.wrong(Fault::Name, format!("string {id} of {}", self.strings.len())))?;
                Value::Text(Arc::clone(text))
            }
            Shape::Ints => {
                let n = self.count("numbers", 1)?;
                self.spend(8 * n as u64)?;
                Value::Ints((0..n).map(|_| self.varint()).collect::<Result<_>>()?)
            }
            Shape::Bools => {
                let n = self.varint()?;
                let bytes = usize::try_from(n.div_ceil(8)).unwrap_or(usize::MAX);
                let bits = self.take(bytes)?;
                self.spend(n)?;
                let bools: Vec<bool> = (0..n as usize).map(|i| bits[i / 8] >> (i % 8) & 1 == 1).collect();
                let unused = (8 * bytes as u64 - n) as u32;
                let tail = bits.last().map_or(0, |last| u32::from(*last) >> (8 - unused));
                ensure(unused == 0 || tail == 0, || self.wrong(Fault::Tail, "unused bits are not zero"))?;
                Value::Bools(bools)
            }
            Shape::Layer => Value::Layer(Box::new(self.record(depth + 1)?)),
            Shape::Layers => {
                let n = self.count("layers", 4)?;
                let mut layers = Vec::new();
                for _ in 0..n {
                    layers.push(self.record(depth + 1)?);
                }
                Value::Layers(layers)
            }
            Shape::Rules => {
                let n = self.count("rules", 19)?;
                let mut rules = Vec::new();
                for _ in 0..n {
                    rules.push(RuleRecord {
                        condition: self.size()?,
                        threshold: self.f64()?,
                        command: self.f32()?,
                        param: self.f32()?,
                        cooldown: self.size()?,
                        self_only: self.flag()?,
                    });
                }
                Value::Rules(rules)
            }
        })
    }

    fn section(&mut self, keys: &[(&str, Shape, bool)], mut set: impl FnMut(usize, Value)) -> Result<()> {
        let mut before = None;
        for _ in 0..self.count("keys", 1)? {
            let id = self.varint()?;
            ensure(before < Some(id), || self.wrong(Fault::Duplicate, format!("key {id} is out of order")))?;
            before = Some(id);
            let index = usize::try_from(id).unwrap_or(usize::MAX);
            let (_, shape, _) = keys.get(index).ok_or_else(|| self.wrong(Fault::Key, format!("unknown key {id}")))?;
            let value = self.value(*shape, 0)?;
            set(index, value);
        }
        Ok(())
    }
}
