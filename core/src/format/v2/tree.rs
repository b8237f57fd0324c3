//! The binary topology of version 2: a string table, then records, of which repeated ones cost
//! three bytes. Described in `docs/entity-v2.md`.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::format::budget::{Budget, Purse, at_depth};
use crate::format::fault::{Fault, ensure};
use crate::format::parse::DEEPEST;
use crate::format::record::{ACTIVATIONS, Key, Record, RuleRecord, SOFTMAXES, Shape, Value, activation_code};
use crate::format::topology::{Topology, grid};
use crate::format::transformer::{Decoder, Dims};
use crate::layers::LayerKind;

/// How far back a repetition may reach.
const FARTHEST: usize = 256;

/// The id of the position of a layer inside another.
const POSITION: u64 = 0;

type Transformer = (Decoder, Option<Dims>);

pub(super) fn encode(topology: &Topology, decoder: Option<&Transformer>) -> Vec<u8> {
    let mut w = Writer::default();
    topology.extents.axes().iter().for_each(|&extent| w.varint(extent as u64));
    let layers = &topology.layers;
    let mut i = 0;
    while i < layers.len() {
        let (distance, length) = repetition(layers, i);
        if length == 0 {
            w.varint(0);
            w.record(&layers[i]);
            i += 1;
        } else {
            w.varint(distance as u64);
            w.varint(length as u64);
            i += length;
        }
    }
    w.bytes.push(u8::from(decoder.is_some()));
    if let Some((decoder, dims)) = decoder {
        w.section(decoder.values());
        w.bytes.push(u8::from(dims.is_some()));
        if let Some(dims) = dims {
            w.section(dims.values());
        }
    }
    w.finish()
}

/// The distance to the nearest earlier run of records that goes on longest from `i` on.
fn repetition(layers: &[Arc<Record>], i: usize) -> (usize, usize) {
    let mut best = (0, 0);
    for distance in 1..=i.min(FARTHEST) {
        let same = |k: usize| {
            let (a, b) = (&layers[i + k - distance], &layers[i + k]);
            Arc::ptr_eq(a, b) || a == b
        };
        let length = (0..layers.len() - i).take_while(|&k| same(k)).count();
        if length > best.1 {
            best = (distance, length);
        }
        if i + length == layers.len() {
            break;
        }
    }
    best
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    strings: Vec<Arc<str>>,
    known: BTreeMap<Arc<str>, u64>,
}

impl Writer {
    fn finish(self) -> Vec<u8> {
        let mut head = Writer::default();
        head.varint(self.strings.len() as u64);
        for string in &self.strings {
            head.varint(string.len() as u64);
            head.bytes.extend_from_slice(string.as_bytes());
        }
        head.bytes.extend_from_slice(&self.bytes);
        head.bytes
    }

    fn varint(&mut self, mut v: u64) {
        while v >= 128 {
            self.bytes.push(v as u8 | 128);
            v >>= 7;
        }
        self.bytes.push(v as u8);
    }

    /// A number that is not negative: readers refuse others.
    fn size(&mut self, v: i64) {
        self.varint(v as u64);
    }

    fn string(&mut self, text: &Arc<str>) {
        let next = self.strings.len() as u64;
        let id = *self.known.entry(Arc::clone(text)).or_insert(next);
        if id == next {
            self.strings.push(Arc::clone(text));
        }
        self.varint(id);
    }

    fn record(&mut self, record: &Record) {
        self.bytes.extend([record.kind as u8, activation_code(record.activation), record.dtype as u8]);
        // The softmax type that every layer has is left out.
        let plain = |key: Key, value: &Value| {
            key == Key::SoftmaxType && matches!(value, Value::Text(text) if **text == *SOFTMAXES[0])
        };
        let fields: Vec<_> = record.fields().iter().filter(|(key, value)| !plain(*key, value)).collect();
        let placed = record.at != [0; 4];
        self.varint(fields.len() as u64 + u64::from(placed));
        if placed {
            self.varint(POSITION);
            record.at.iter().for_each(|&v| self.size(v));
        }
        for (key, value) in fields {
            self.varint(*key as u64);
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Int(v) => self.size(*v),
            Value::Float(v) => self.bytes.extend_from_slice(&v.to_le_bytes()),
            Value::Set => {}
            Value::Text(v) => self.string(v),
            Value::Ints(v) => {
                self.varint(v.len() as u64);
                v.iter().for_each(|&v| self.varint(v));
            }
            Value::Bools(v) => {
                self.varint(v.len() as u64);
                let byte = |bits: &[bool]| bits.iter().enumerate().fold(0, |byte, (i, &bit)| byte | u8::from(bit) << i);
                self.bytes.extend(v.chunks(8).map(byte));
            }
            Value::Layer(layer) => self.record(layer),
            Value::Layers(layers) => {
                self.varint(layers.len() as u64);
                layers.iter().for_each(|layer| self.record(layer));
            }
            Value::Rules(rules) => {
                self.varint(rules.len() as u64);
                for rule in rules {
                    self.size(rule.condition);
                    self.bytes.extend_from_slice(&rule.threshold.to_le_bytes());
                    self.bytes.extend_from_slice(&rule.command.to_le_bytes());
                    self.bytes.extend_from_slice(&rule.param.to_le_bytes());
                    self.size(rule.cooldown);
                    self.bytes.push(u8::from(rule.self_only));
                }
            }
        }
    }

    fn section(&mut self, values: Vec<Option<Value>>) {
        let there: Vec<_> = values.iter().enumerate().filter_map(|(i, value)| Some((i, value.as_ref()?))).collect();
        self.varint(there.len() as u64);
        for (i, value) in there {
            self.varint(i as u64);
            self.value(value);
        }
    }
}

/// Reads a topology of a file of `file` bytes; what it makes is paid from `purse`.
pub(super) fn decode(bytes: &[u8], file: usize, purse: &mut Purse) -> Result<(Topology, Option<Transformer>)> {
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
        let activation = *ACTIVATIONS.get(activation).ok_or_else(|| unknown("activation", activation))?;
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
