//! The binary topology of version 2: a string table, then records, of which repeated ones cost
//! three bytes. Described in `docs/entity-v2.md`.

#![forbid(unsafe_code)]

mod read;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::format::record::{Key, Record, SOFTMAXES, Value, activation_code};
use crate::format::topology::Topology;
use crate::format::transformer::{Decoder, Dims};

pub(super) use read::decode;

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
