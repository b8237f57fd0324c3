//! How each family stands in checkpoints: one file for each, and one trait.
//!
//! A record says more than a layer uses, and a configuration more than version 1 has keys for;
//! what is not said is the original's default. A layer that contradicts itself is refused.
//!
//! The original's kinds say themselves in keys, as far as these reach. All else, kinds that the original
//! lacks and configurations that its keys cannot say, is one string: the configuration in JSON, as
//! manifests have it ([`Key::Configuration`]). Only version 2 has that key.

#![forbid(unsafe_code)]

mod conv;
mod conv_transposed;
mod dense;
mod embedding;
mod kmeans;
mod metacognition;
mod mha;
mod norm;
mod parallel;
mod recurrent;
mod residual;
mod sequential;
mod softmax;
mod swiglu;

use std::fmt;

use super::path::LayerPath;
use super::path::Step;
use super::record::{Key, Record, Value};
use crate::coord::Coord;
use crate::error::{ConfigError, Error, PackingError, Result};
use crate::layers::packing::Layout;
use crate::layers::*;
use crate::role::Role;

/// `originals!` lists the kinds whose records have keys of their own, and makes `by_original!`.
macro_rules! originals {
    // The dollar is that of the macro which this one makes.
    ($dollar:tt $($variant:ident($spec:ty),)*) => {
        /// `by_original!(kind, Family => …, else …)`: what stands behind the arrow, with `Family` as the
        /// configuration's type of a kind that is listed.
        macro_rules! by_original {
            ($dollar kind:expr, $dollar family:ident => $dollar body:expr, else $dollar other:expr) => {
                match $dollar kind {
                    $(LayerKind::$variant => {
                        type $dollar family = $spec;
                        $dollar body
                    })*
                    _ => $dollar other,
                }
            };
        }

        /// Says a layer in a record by its kind's own keys; `false` where they do not reach.
        fn say(spec: &LayerSpec, record: &mut Record, path: &LayerPath) -> Result<bool> {
            match spec {
                $(LayerSpec::$variant(family) if family.has_keys() => family.to_record(record, path).map(|()| true),)*
                _ => Ok(false),
            }
        }
    };
}

originals! { $
    Dense(DenseSpec),
    Mha(MhaSpec),
    SwiGlu(SwiGluSpec),
    RmsNorm(RmsNormSpec),
    Cnn1(ConvSpec<1>),
    Cnn2(ConvSpec<2>),
    Cnn3(ConvSpec<3>),
    Rnn(RnnSpec),
    Lstm(LstmSpec),
    LayerNorm(LayerNormSpec),
    ConvTransposed1(ConvTransposedSpec<1>),
    ConvTransposed2(ConvTransposedSpec<2>),
    ConvTransposed3(ConvTransposedSpec<3>),
    Embedding(EmbeddingSpec),
    KMeans(KMeansSpec),
    Softmax(SoftmaxSpec),
    Parallel(ParallelSpec),
    Sequential(SequentialSpec),
    Residual(ResidualSpec),
    Metacognition(MetacognitionSpec),
}

/// A family of the original in checkpoints.
trait Recorded: Sized {
    /// What stands beside the one array of the layer's weights, in the order of sections.
    const BESIDE: &[Role] = &[];
    /// What the original's bridge keeps beside the array, in version 1 as well.
    const BRIDGED: &[Role] = &[];
    /// The role by which a layer whose weights come as roles shows that it has biases.
    const BIAS: Role = Role::Bias;
    /// Whether the original reads the length of sequences.
    const HAS_SEQUENCES: bool = false;

    /// Whether the kind's keys can say all of the configuration.
    fn has_keys(&self) -> bool {
        true
    }

    /// The configuration that a record says.
    fn of_record(record: &Record, place: &Place<'_>) -> Result<Self>;

    /// Says itself in a record, which is in float32 and without a position.
    fn to_record(&self, record: &mut Record, path: &LayerPath) -> Result<()>;

    /// The roles of the array that version 1 and JSON have: the original's weight count, biases always
    /// among them.
    fn array_roles(_: &Record) -> std::result::Result<Vec<RoleShape>, PackingError> {
        Ok(Vec::new())
    }

    /// The shape of a role of [`Recorded::BESIDE`], `gains` of which are there where it is a norm of queries or keys.
    fn shape_beside(_: &Record, _: Role, _gains: usize) -> std::result::Result<Vec<usize>, PackingError> {
        Ok(Vec::new())
    }
}

/// Which optional roles a layer has weights for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Has {
    pub(super) qk_norm: QkNorm,
    /// Whether it has biases; `None` means as version 1 has it for the kind.
    pub(super) bias: Option<bool>,
}

/// Where a record stands, and which roles there are.
struct Place<'a> {
    path: &'a LayerPath,
    has: &'a dyn Fn(&LayerPath) -> Has,
}

impl Place<'_> {
    fn has(&self) -> Has {
        (self.has)(self.path)
    }

    fn bias(&self, default: bool) -> bool {
        self.has().bias.unwrap_or(default)
    }

    fn error(&self, what: impl fmt::Display) -> Error {
        Error::Document { path: self.path.to_string(), what: what.to_string() }
    }
}

impl Record {
    /// The configuration of the layer at `path`; `has` says which optional roles layers have weights for.
    ///
    /// # Errors
    /// [`Error::Document`] when a layer contradicts itself.
    pub(super) fn spec(&self, path: &LayerPath, has: &dyn Fn(&LayerPath) -> Has) -> Result<LayerSpec> {
        let place = Place { path, has };
        if let Some(spec) = self.configured() {
            return spec.map_err(|what| place.error(what));
        }
        by_original!(self.kind, Family => Family::of_record(self, &place).map(LayerSpec::from),
            else Err(place.error(Misconfigured::Absent { kind: self.kind.name() })))
    }

    /// The record of a layer, in float32 and without a position.
    pub(super) fn of_spec(spec: &LayerSpec, path: &LayerPath) -> Result<Self> {
        let mut record = Self::new(spec.kind(), Activation::Linear);
        // What 0.80 holds after a load; its `.entity` leaves a 1 out where it says nothing.
        record.set_size(Key::SeqLength, 1);
        if !say(spec, &mut record, path)? {
            record = Self::new(spec.kind(), Activation::Linear);
            record.set_text(Key::Configuration, &spec.configuration());
        }
        Ok(record)
    }

    /// The configuration that stands in the record as one string, if one does.
    pub(super) fn configured(&self) -> Option<std::result::Result<LayerSpec, Misconfigured>> {
        let Some(Value::Text(text)) = self.get(Key::Configuration) else { return None };
        let kind = self.kind.name();
        Some(self.kind.read(text).map_err(|error| Misconfigured::Json { kind, what: error.to_string() }))
    }

    /// Whether the layer is said in one way: by its keys, or by one string and nothing beside it.
    pub(super) fn check_configuration(&self) -> std::result::Result<(), Misconfigured> {
        /// Where a layer stands and how it is fed, which no configuration says.
        const PLACE: [Key; 5] =
            [Key::Configuration, Key::SoftmaxType, Key::IsDisabled, Key::ReadsInput, Key::AddsInput];
        let kind = self.kind.name();
        let spec = match self.configured() {
            Some(spec) => spec?,
            None if self.kind.is_original() => return Ok(()),
            None => return Err(Misconfigured::Absent { kind }),
        };
        let expected = spec.configuration();
        if self.text(Key::Configuration) != expected {
            return Err(Misconfigured::Spelling { kind, expected });
        }
        spec.check().map_err(|what| Misconfigured::Config { kind, what })?;
        let other = self.fields().iter().find(|(key, _)| !PLACE.contains(key)).map(|(key, _)| key.name());
        match other.or((self.activation != Activation::Linear).then_some("activation")) {
            Some(key) => Err(Misconfigured::Beside { kind, key }),
            None => Ok(()),
        }
    }

    /// The array that version 1 and JSON have for the layer; of a layer that is one string, its roles in order.
    pub(super) fn layout(&self) -> std::result::Result<Layout, PackingError> {
        let roles = match self.configured() {
            Some(spec) => spec.map_err(|what| PackingError::Configuration { what: what.to_string() })?.roles(),
            None => by_original!(self.kind, Family => Family::array_roles(self), else Ok(Vec::new()))?,
        };
        Layout::new(roles, self.kind)
    }

    /// The roles that the layer may have, in the order of sections: those of its array, then what
    /// stands beside it.
    pub(super) fn role_order(&self, layout: &Layout) -> Vec<Role> {
        layout.roles.iter().map(|role| role.role).chain(self.beside().iter().copied()).collect()
    }

    /// What stands beside the array.
    fn beside(&self) -> &'static [Role] {
        match self.has(Key::Configuration) {
            true => &[],
            false => by_original!(self.kind, Family => Family::BESIDE, else &[]),
        }
    }

    /// The shape of a role, `gains` of which are there where it is a norm of queries or keys: of
    /// the array, or one that stands beside it. Empty when the kind has none.
    pub(super) fn role_shape(
        &self,
        role: Role,
        layout: &Layout,
        gains: usize,
    ) -> std::result::Result<Vec<usize>, PackingError> {
        match layout.shape(role) {
            Some(shape) => Ok(shape.to_vec()),
            None if self.beside().contains(&role) => {
                by_original!(self.kind, Family => Family::shape_beside(self, role, gains), else Ok(Vec::new()))
            }
            None => Ok(Vec::new()),
        }
    }

    /// The role by which a layer whose weights come as roles shows that it has biases.
    pub(super) fn bias_role(&self) -> Role {
        by_original!(self.kind, Family => Family::BIAS, else Role::Bias)
    }

    /// What the original's bridge keeps beside the array, in version 1 as well.
    pub(super) fn bridged(&self) -> &'static [Role] {
        match self.has(Key::Configuration) {
            true => &[],
            false => by_original!(self.kind, Family => Family::BRIDGED, else &[]),
        }
    }

    /// Whether the original reads the length of sequences.
    pub(super) fn has_sequences(&self) -> bool {
        by_original!(self.kind, Family => Family::HAS_SEQUENCES, else false)
    }

    fn set_sizes(&mut self, sizes: &[(Key, usize)]) {
        sizes.iter().for_each(|(key, size)| self.set_size(*key, *size));
    }

    fn eps(&self, default: f64) -> f64 {
        if self.has(Key::Eps) { self.float(Key::Eps) } else { default }
    }

    fn set_eps(&mut self, eps: f64, default: f64) {
        if eps != default {
            self.set_float(Key::Eps, eps);
        }
    }

    /// Sets the sizes of a plane: `one` for one axis; else width, height before it, depth in front.
    fn set_planes(&mut self, one: [Key; 2], input: &[usize], output: &[usize]) {
        let keys = match input.len() {
            1 => std::slice::from_ref(&one),
            n => &PLANES[3 - n..],
        };
        for ((keys, &input), &output) in keys.iter().zip(input).zip(output) {
            self.set_size(keys[0], input);
            self.set_size(keys[1], output);
        }
    }

    /// The sizes that [`Record::set_planes`] sets.
    fn planes<const N: usize>(&self, one: [Key; 2]) -> [Vec<usize>; 2] {
        let keys = if N == 1 { std::slice::from_ref(&one) } else { &PLANES[3 - N..] };
        [0, 1].map(|side| keys.iter().map(|keys| self.size(keys[side])).collect())
    }
}

/// Extents of the input and of the output, slowest axis first.
const PLANES: [[Key; 2]; 3] =
    [[Key::InputDepth, Key::OutputDepth], [Key::InputHeight, Key::OutputHeight], [Key::InputWidth, Key::OutputWidth]];

/// What is wrong with a configuration that is one string.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Misconfigured {
    /// The kind has no keys that could say it, and there is no string.
    #[error("a {kind} layer needs its `configuration`")]
    Absent { kind: &'static str },
    /// The string is no configuration of the kind.
    #[error("`configuration` is none of a {kind} layer: {what}")]
    Json { kind: &'static str, what: String },
    /// The configuration contradicts itself.
    #[error("`configuration` of a {kind} layer: {what}")]
    Config { kind: &'static str, what: ConfigError },
    /// Another key says something as well.
    #[error("a {kind} layer with a `configuration` has `{key}` beside it")]
    Beside { kind: &'static str, key: &'static str },
    /// The same layer would be written in other words.
    #[error("`configuration` of a {kind} layer is not as it is written: expected {expected}")]
    Spelling { kind: &'static str, expected: String },
}

fn role(role: Role, shape: &[usize]) -> RoleShape {
    RoleShape { role, shape: shape.to_vec() }
}

/// The layers of a container.
fn children(record: &Record, key: Key, place: &Place<'_>) -> Result<Vec<ChildSpec>> {
    let Some(Value::Layers(layers)) = record.get(key) else { return Ok(Vec::new()) };
    let child = |(i, record): (usize, &Record)| {
        let [z, y, x, l] = [Key::TargetZ, Key::TargetY, Key::TargetX, Key::TargetL].map(|key| record.size(key));
        let step = if key == Key::ParallelBranches { Step::Branch(i) } else { Step::Sequential(i) };
        let (layer, link) = match record.has(Key::IsRemoteLink) {
            true => (None, Some(Coord { z, y, x, l })),
            false => (Some(record.spec(&place.path.inner(step), place.has)?), None),
        };
        Ok(ChildSpec { disabled: record.has(Key::IsDisabled), layer, link })
    };
    layers.iter().enumerate().map(child).collect()
}

/// The one layer at a step inside a record.
fn child(record: &Record, step: Step, place: &Place<'_>) -> Result<Option<Box<LayerSpec>>> {
    let inner = record.child(step).map(|inner| inner.spec(&place.path.inner(step), place.has)).transpose()?;
    Ok(inner.map(Box::new))
}

/// The records of a container's children. A link has the record of an empty residual layer.
fn records(children: &[ChildSpec], path: &LayerPath, step: fn(usize) -> Step) -> Result<Value> {
    let record = |(i, child): (usize, &ChildSpec)| {
        let mut record = match (&child.layer, child.link) {
            (Some(layer), _) => Record::of_spec(layer, &path.inner(step(i)))?,
            (None, Some(target)) => {
                let mut record = Record::new(LayerKind::Residual, Activation::Linear);
                record.set_flag(Key::IsRemoteLink, true);
                for (key, at) in [
                    (Key::TargetZ, target.z),
                    (Key::TargetY, target.y),
                    (Key::TargetX, target.x),
                    (Key::TargetL, target.l),
                ] {
                    if at != 0 {
                        record.set_size(key, at);
                    }
                }
                record
            }
            (None, None) => Record::new(LayerKind::Residual, Activation::Linear),
        };
        record.set_flag(Key::IsDisabled, child.disabled);
        Ok(record)
    };
    Ok(Value::Layers(children.iter().enumerate().map(record).collect::<Result<_>>()?))
}

/// `value`, or `default` where the file has 0 or nothing.
fn or(value: f64, default: f64) -> f64 {
    if value == 0.0 { default } else { value }
}
