//! The layer kinds: one file per family, one line each in `layers!`.
//!
//! A family is a strict configuration (`…Spec`, its only serialised form) that implements
//! `Family`. Layers read the flat input by their own sizes: every leading axis counts as
//! a batch axis, and an input that is not a whole number of units is an error.

mod activation;
mod conv;
mod conv_transposed;
mod dense;
mod embedding;
mod kmeans;
mod lstm;
mod metacognition;
mod mha;
mod norm;
mod parallel;
mod residual;
mod rnn;
mod sequential;
mod softmax;
mod swiglu;

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::{Cpu, MatRef, Rows, Threads, matmul};
use crate::error::{Error, Problem, Result};
use crate::grid::{ChildSpec, Coord, Network, NetworkSpec, State, WeightTable};
use crate::store::{Role, WeightStore, Weights};
use crate::tensor::{Tensor, element_count};

pub use activation::Activation;
pub use conv::ConvSpec;
pub use conv_transposed::ConvTransposedSpec;
pub use dense::DenseSpec;
pub use embedding::EmbeddingSpec;
pub use kmeans::{KMeansOutput, KMeansSpec};
pub use lstm::LstmSpec;
pub(crate) use metacognition::MetaState;
pub use metacognition::{Command, Condition, MetacognitionSpec, Rule};
pub(crate) use mha::KvCache;
pub use mha::{MhaSpec, QkNorm};
pub use norm::{LayerNormSpec, RmsNormSpec};
pub use parallel::{Combine, ParallelSpec};
pub use residual::ResidualSpec;
pub use rnn::RnnSpec;
pub use sequential::SequentialSpec;
pub use softmax::{SoftmaxOver, SoftmaxSpec, SoftmaxVariant};
pub use swiglu::SwiGluSpec;

/// A role of a layer and the shape of its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleShape {
    /// The role.
    pub role: Role,
    /// The shape of its store.
    pub shape: Vec<usize>,
}

impl RoleShape {
    fn new(role: Role, shape: impl Into<Vec<usize>>) -> Self {
        Self { role, shape: shape.into() }
    }
}

/// What every layer family provides.
pub(crate) trait Family {
    /// Says what is wrong with the configuration, if anything is.
    fn check(&self) -> std::result::Result<(), String> {
        Ok(())
    }

    /// The roles that need weights, in packing order of the original's flat array.
    fn roles(&self) -> Vec<RoleShape> {
        Vec::new()
    }

    /// The layers inside, with the last part of their paths.
    fn children(&self) -> Vec<(String, ChildSpec)> {
        Vec::new()
    }

    /// How many rounded terms one output element sums at most: what error bands scale with.
    fn terms(&self) -> usize {
        1
    }

    /// Runs the layer on `x`. Only residual layers look at `skip`.
    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, skip: Option<&Tensor>) -> Result<Tensor>;
}

macro_rules! layers {
    ($($variant:ident($spec:ty) $name:literal $id:literal $doc:literal,)*) => {
        /// A kind of layer. The discriminant is the code that the original's files use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum LayerKind { $(#[doc = $doc] $variant = $id,)* }

        impl LayerKind {
            /// Every kind.
            pub const ALL: &'static [LayerKind] = &[$(LayerKind::$variant,)*];

            /// The name used in manifests and messages.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(LayerKind::$variant => $name,)* }
            }
        }

        /// A layer's kind and strict configuration: the only serialised form of a layer.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub enum LayerSpec { $(#[doc = $doc] #[serde(rename = $name)] $variant($spec),)* }

        impl LayerSpec {
            /// The kind.
            #[must_use]
            pub fn kind(&self) -> LayerKind {
                match self { $(LayerSpec::$variant(_) => LayerKind::$variant,)* }
            }

            fn family(&self) -> &dyn Family {
                match self { $(LayerSpec::$variant(spec) => spec,)* }
            }
        }
    };
}

layers! {
    Dense(DenseSpec) "dense" 0 "Fully connected.",
    Mha(MhaSpec) "mha" 1 "Multi-head attention with rotary positions.",
    SwiGlu(SwiGluSpec) "swiglu" 2 "Gated feed-forward block.",
    RmsNorm(RmsNormSpec) "rmsnorm" 3 "Root-mean-square normalisation.",
    Cnn1(ConvSpec<1>) "cnn1" 4 "One-dimensional convolution.",
    Cnn2(ConvSpec<2>) "cnn2" 5 "Two-dimensional convolution.",
    Cnn3(ConvSpec<3>) "cnn3" 6 "Three-dimensional convolution.",
    Rnn(RnnSpec) "rnn" 7 "Elman recurrent layer (tanh).",
    Lstm(LstmSpec) "lstm" 8 "Long short-term memory.",
    LayerNorm(LayerNormSpec) "layernorm" 9 "Layer normalisation.",
    ConvTransposed1(ConvTransposedSpec<1>) "convtransposed1" 10 "One-dimensional transposed convolution.",
    ConvTransposed2(ConvTransposedSpec<2>) "convtransposed2" 11 "Two-dimensional transposed convolution.",
    ConvTransposed3(ConvTransposedSpec<3>) "convtransposed3" 12 "Three-dimensional transposed convolution.",
    Embedding(EmbeddingSpec) "embedding" 13 "Table look-up.",
    KMeans(KMeansSpec) "kmeans" 14 "Soft assignment to cluster centres.",
    Softmax(SoftmaxSpec) "softmax" 15 "Softmax in ten variants.",
    Parallel(ParallelSpec) "parallel" 16 "Branches on one input, combined.",
    Sequential(SequentialSpec) "sequential" 17 "Steps in order, with skips for residual steps.",
    Residual(ResidualSpec) "residual" 18 "Adds the skip.",
    Metacognition(MetacognitionSpec) "metacognition" 19 "Watches a layer and changes it by rules.",
}

impl LayerSpec {
    /// The roles that need weights and their shapes.
    #[must_use]
    pub fn roles(&self) -> Vec<RoleShape> {
        self.family().roles()
    }

    /// The layers inside, with the last part of their paths.
    #[must_use]
    pub fn children(&self) -> Vec<(String, ChildSpec)> {
        self.family().children()
    }

    /// How many rounded terms an output element sums at most, layers inside included.
    #[must_use]
    pub fn terms(&self) -> usize {
        let inside = self.children().into_iter().filter_map(|(_, child)| child.layer).map(|layer| layer.terms());
        self.family().terms().max(inside.fold(0, usize::saturating_add))
    }

    /// Says what is wrong with the configuration, if anything is.
    ///
    /// # Errors
    /// A sentence that names the field and what it should be.
    pub fn check(&self) -> std::result::Result<(), String> {
        self.family().check()?;
        self.roles().iter().try_for_each(|role| holdable(role.role.name(), &role.shape))
    }
}

/// A layer with its weights and the layers inside it.
#[derive(Clone, Debug)]
pub struct Layer {
    site: usize,
    at: Coord,
    path: String,
    spec: LayerSpec,
    weights: Weights,
    children: Vec<Child>,
}

/// A layer inside a container.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) disabled: bool,
    pub(crate) body: ChildBody,
}

/// A child's own layer, or the position of the one that runs in its place.
#[derive(Clone, Debug)]
pub(crate) enum ChildBody {
    Own(Layer),
    Link(Coord),
}

impl Layer {
    /// Builds a layer and those inside it; `sites` counts the layers built so far.
    pub(crate) fn build(
        network: &NetworkSpec,
        spec: LayerSpec,
        at: Coord,
        path: String,
        sites: &mut usize,
        table: &mut WeightTable,
    ) -> Result<Self> {
        let weights = table.remove(&path).unwrap_or_default();
        let mut layer = Self { site: *sites, at, path, spec, weights, children: Vec::new() };
        *sites += 1;
        layer.spec.check().map_err(|what| layer.error(Problem::Config(what)))?;
        layer.check_weights()?;
        for (name, child) in layer.spec.children() {
            let body =
                match (child.layer, child.link) {
                    (Some(spec), None) => {
                        let path = format!("{}.{name}", layer.path);
                        ChildBody::Own(Self::build(network, spec, at, path, sites, table)?)
                    }
                    (None, Some(target)) if network.index(target).is_some() => ChildBody::Link(target),
                    (None, Some(target)) => {
                        return Err(layer
                            .error(Problem::Config(format!("{name} links to {target}, which is outside the grid"))));
                    }
                    _ => {
                        return Err(layer
                            .error(Problem::Config(format!("{name} needs either `layer` or `link`, and not both"))));
                    }
                };
            layer.children.push(Child { disabled: child.disabled, body });
        }
        Ok(layer)
    }

    fn check_weights(&self) -> Result<()> {
        let roles = self.spec.roles();
        for RoleShape { role, shape } in &roles {
            let expected = shape.clone();
            match self.weights.get(role) {
                None => return Err(self.error(Problem::MissingWeight { role: *role, expected })),
                Some(store) if store.shape() != expected => {
                    return Err(self.error(Problem::WeightShape {
                        role: *role,
                        expected,
                        found: store.shape().to_vec(),
                    }));
                }
                Some(_) => {}
            }
        }
        match self.weights.keys().find(|role| !roles.iter().any(|r| r.role == **role)) {
            Some(&role) => Err(self.error(Problem::UnexpectedWeight { role })),
            None => Ok(()),
        }
    }

    /// The configuration.
    #[must_use]
    pub fn spec(&self) -> &LayerSpec {
        &self.spec
    }

    /// The grid position of the layer, or of the container that holds it.
    #[must_use]
    pub fn at(&self) -> Coord {
        self.at
    }

    /// The path, for example `layers.3.sequential_layers.1`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The stores, by role.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    pub(crate) fn children(&self) -> &[Child] {
        &self.children
    }

    /// The store of a role that [`Layer::build`] has checked, or that is optional.
    fn store(&self, role: Role) -> Option<&WeightStore> {
        self.weights.get(&role)
    }

    /// The matrix of a role that the configuration always has.
    fn matrix(&self, role: Role) -> MatRef<'_> {
        self.weights[&role].matrix()
    }

    /// The values of an optional role; empty when the layer has none.
    fn values(&self, role: Role) -> &[f32] {
        self.store(role).map_or(&[], WeightStore::values)
    }

    /// `f32(sum + bias)` for every row of `x`: the linear map of a weight and a bias role.
    fn linear(&self, cpu: &Cpu, x: &[f32], depth: usize, weight: Role, bias: Role) -> Vec<f32> {
        let w = self.matrix(weight);
        match self.values(bias) {
            [] => matmul(cpu, Rows::packed(x, depth), w, |_, sum| sum as f32),
            b => matmul(cpu, Rows::packed(x, depth), w, |o, sum| (sum + f64::from(b[o])) as f32),
        }
    }

    pub(crate) fn error(&self, problem: Problem) -> Error {
        Error::Layer { at: self.at, path: self.path.clone(), kind: self.spec.kind().name(), problem: Box::new(problem) }
    }

    /// How many whole units of `size` elements `x` holds.
    fn units(&self, x: &Tensor, unit: &'static str, size: usize) -> Result<usize> {
        if size == 0 || !x.len().is_multiple_of(size) {
            return Err(self.error(Problem::Input { shape: x.shape().to_vec(), unit, size }));
        }
        Ok(x.len() / size)
    }
}

/// One run of a network: how it computes and what it remembers.
pub(crate) struct Run<'a> {
    pub(crate) cpu: Cpu,
    pub(crate) network: &'a Network,
    pub(crate) state: &'a mut State,
    /// How often each layer has run so far: a layer that links reach twice has two caches.
    pub(crate) visits: BTreeMap<usize, usize>,
}

impl Run<'_> {
    /// Runs a layer, or what metacognition has put in its place.
    pub(crate) fn layer(&mut self, layer: &Layer, x: &Tensor, skip: Option<&Tensor>) -> Result<Tensor> {
        let replaced = self.state.replaced.get(&layer.site).map(Arc::clone);
        let layer = replaced.as_deref().unwrap_or(layer);
        layer.spec.family().forward(self, layer, x, skip)
    }

    /// Runs a child of a container.
    fn child(&mut self, child: &Child, x: &Tensor, skip: Option<&Tensor>) -> Result<Tensor> {
        match child.layer(self.network) {
            Some(layer) => self.layer(layer, x, skip),
            None => Ok(x.clone()),
        }
    }
}

impl Cpu {
    /// `f(0), f(1), …` in order, on several cores when that is allowed and `n` > 1.
    fn map<T: Send>(&self, n: usize, f: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
        match self.threads() {
            Threads::Multi if n > 1 => (0..n).into_par_iter().map(f).collect(),
            _ => (0..n).map(f).collect(),
        }
    }

    /// The same instruction set on the calling thread alone.
    fn single(&self) -> Cpu {
        Cpu::with(self.isa(), Threads::Single).unwrap_or_else(Cpu::scalar)
    }
}

/// The leading axes of `x` when its last axis is `width`, otherwise `rows` alone; then `last`.
fn leading(x: &Tensor, width: usize, rows: usize, last: usize) -> Vec<usize> {
    match x.shape() {
        [lead @ .., w] if *w == width => lead.iter().copied().chain([last]).collect(),
        _ => vec![rows, last],
    }
}

/// The serde default of switches that are on unless a file says otherwise.
fn on() -> bool {
    true
}

/// The largest size that a configuration may name, and the most elements that one array of a
/// layer may have: far beyond any real model, and small enough that sums of sizes fit.
const LARGEST: usize = 1 << 30;

/// `Err` with a sentence unless every named size is at least 1 and believable.
fn positive(sizes: &[(&str, usize)]) -> std::result::Result<(), String> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((name, _)) => Err(format!("{name} is 0; it must be at least 1")),
        None => believable(sizes),
    }
}

/// `Err` with a sentence when a named size is beyond [`LARGEST`].
fn believable(sizes: &[(&str, usize)]) -> std::result::Result<(), String> {
    match sizes.iter().find(|(_, size)| *size > LARGEST) {
        Some((name, size)) => Err(format!("{name} is {size}; it must be at most {LARGEST}")),
        None => Ok(()),
    }
}

/// `Err` with a sentence when the product of `extents` is beyond [`LARGEST`].
fn holdable(name: &str, extents: &[usize]) -> std::result::Result<(), String> {
    match element_count(extents).filter(|&n| n <= LARGEST) {
        Some(_) => Ok(()),
        None => Err(format!("{name} would have {extents:?} elements; at most {LARGEST} are held")),
    }
}

/// Softmax in place: the maximum subtracted, exponentials and their sum in f64, one
/// rounding of each quotient. A slice of minus infinities becomes uniform.
fn softmax_in_place(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shift = if max == f32::NEG_INFINITY { 0.0 } else { f64::from(max) };
    let exps: Vec<f64> = row.iter().map(|&v| crate::math::exp(f64::from(v) - shift)).collect();
    let sum = exps.iter().fold(0.0, |sum, e| sum + e);
    for (slot, e) in row.iter_mut().zip(&exps) {
        *slot = if sum == 0.0 { 1.0 / exps.len() as f32 } else { (e / sum) as f32 };
    }
}
