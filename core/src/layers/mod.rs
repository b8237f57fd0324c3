//! The layer kinds: one file per family, one line each in `layers!`.
//!
//! A family is a strict configuration (`…Spec`, its only serialised form) that implements
//! `Family`. Layers find their own axes last in their input, every leading axis being a batch
//! axis, or one flat unit in each sample of a batch; any other shape is an error.

mod activation;
mod affine;
mod axes;
mod batchnorm;
mod child;
mod conv;
mod conv_transposed;
mod dense;
mod embedding;
mod groupnorm;
mod gru;
mod kmeans;
mod l2norm;
mod layer;
mod lstm;
mod metacognition;
mod mha;
mod norm;
mod onehot;
pub mod packing;
mod parallel;
mod per_axis;
mod pick;
mod pool;
mod prelu;
#[cfg(feature = "gpu")]
mod recorder;
mod reduce;
mod residual;
mod resize;
mod rnn;
mod sequential;
mod softmax;
mod state;
mod swiglu;
mod view;
mod walk;

#[cfg(feature = "gpu")]
use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, KERNELS, Kernel};
use crate::role::Role;
use crate::tensor::{Tensor, element_count};

pub use crate::activation::Activation;
pub use activation::ActivationSpec;
pub use affine::AffineSpec;
pub use batchnorm::BatchNormSpec;
pub use child::ChildSpec;
pub(crate) use child::{Child, ChildBody, Links};
pub use conv::ConvSpec;
pub use conv_transposed::ConvTransposedSpec;
pub use dense::DenseSpec;
pub use embedding::EmbeddingSpec;
pub use groupnorm::GroupNormSpec;
pub use gru::{GruSpec, Reset};
pub use kmeans::{KMeansOutput, KMeansSpec};
pub use l2norm::{Guard, L2NormSpec};
pub use layer::Layer;
pub(crate) use layer::Run;
use layer::leading;
pub use lstm::LstmSpec;
pub(crate) use metacognition::MetaState;
pub use metacognition::{Command, Condition, MetacognitionSpec, Rule};
pub(crate) use mha::KvCache;
pub use mha::{MhaSpec, QkNorm};
pub use norm::{LayerNormSpec, RmsNormSpec};
pub use onehot::OneHotSpec;
pub use parallel::{Combine, ParallelSpec};
pub use per_axis::{Padding, PerAxis};
pub use pool::{PoolOp, PoolSpec};
pub use prelu::PReluSpec;
#[cfg(feature = "gpu")]
pub(crate) use recorder::Recorder;
pub use reduce::{ReduceOp, ReduceSpec};
pub use residual::ResidualSpec;
pub use resize::{Corners, Interpolation, ResizeSpec};
pub use rnn::RnnSpec;
pub use sequential::SequentialSpec;
pub use softmax::{SoftmaxOver, SoftmaxSpec, SoftmaxVariant};
pub use state::State;
pub use swiglu::SwiGluSpec;
pub use view::{PadMode, ViewSpec};

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
    fn check(&self) -> std::result::Result<(), ConfigError> {
        Ok(())
    }

    /// The roles that need weights, in packing order of the original's flat array.
    fn roles(&self) -> Vec<RoleShape> {
        Vec::new()
    }

    /// The same configuration with values that follow from others where it leaves them out.
    fn with_defaults(&self) -> Self
    where
        Self: Sized + Clone,
    {
        self.clone()
    }

    /// The layers inside, with the last part of their paths.
    fn children(&self) -> Vec<(String, ChildSpec)> {
        Vec::new()
    }

    /// How many rounded terms one output element sums at most: what error bands scale with.
    fn terms(&self) -> usize {
        1
    }

    /// How many elements of four bytes the layer makes of an input of this shape, what it works
    /// with included, those of layers inside aside; about, so that none is made that is too large.
    fn makes(&self, shape: &[usize]) -> usize {
        elements(shape)
    }

    /// Runs the layer on `x`. Only residual layers look at `skip`.
    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, skip: Option<&Tensor>) -> Result<Tensor>;

    /// Records what [`Family::forward`] does as dispatches of a GPU.
    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        skip: Option<&GpuArray>,
    ) -> Result<GpuArray>;
}

macro_rules! layers {
    // The dollar is that of the macros which this one makes.
    ($dollar:tt $($variant:ident($spec:ty) $name:literal $file_name:literal $id:literal $kernels:expr, $doc:literal;)*) => {
        /// A kind of layer. The discriminant is the code that files use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum LayerKind { $(#[doc = $doc] $variant = $id,)* }

        // Files of version 2 count kinds.
        const _: () = {
            let mut i = 0;
            while i < LayerKind::ALL.len() {
                assert!(LayerKind::ALL[i] as usize == i, "the code of a kind is its place: new ones stand at the end");
                i += 1;
            }
        };

        impl LayerKind {
            /// Every kind.
            pub const ALL: &'static [LayerKind] = &[$(LayerKind::$variant,)*];

            /// The name used in manifests and messages.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(LayerKind::$variant => $name,)* }
            }

            /// Whether the original has it, and so version 1 and JSON.
            pub(crate) fn is_original(self) -> bool {
                self <= LayerKind::Metacognition
            }

            /// The name that files use.
            pub(crate) fn file_name(self) -> &'static str {
                match self { $(LayerKind::$variant => $file_name,)* }
            }
        }

        /// A layer's kind and strict configuration: the only serialised form of a layer.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub enum LayerSpec { $(#[doc = $doc] #[serde(rename = $name)] $variant($spec),)* }

        impl LayerKind {
            /// A configuration of the kind in JSON.
            pub(crate) fn read(self, json: &str) -> serde_json::Result<LayerSpec> {
                match self {
                    $(LayerKind::$variant => serde_json::from_str::<$spec>(json).map(LayerSpec::from),)*
                }
            }
        }

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

        $(impl From<$spec> for LayerSpec {
            fn from(spec: $spec) -> Self {
                LayerSpec::$variant(spec)
            }
        })*

        /// `by_family!(spec, family => …)`: what stands behind the arrow, with `family` as the configuration of a
        /// [`LayerSpec`].
        macro_rules! by_family {
            ($dollar spec:expr, $dollar family:ident => $dollar body:expr) => {
                match $dollar spec {
                    $(LayerSpec::$variant($dollar family) => $dollar body,)*
                }
            };
        }

        /// Every kernel, those of products and of tools included, once each.
        #[cfg(feature = "gpu")]
        pub(crate) fn kernels() -> Vec<&'static Kernel> {
            let families: &[&[&Kernel]] = &[$($kernels,)*];
            let all: BTreeSet<_> = [KERNELS].iter().chain(families).copied().flatten().copied().collect();
            all.into_iter().collect()
        }
    };
}

layers! { $
    Dense(DenseSpec) "dense" "Dense" 0 &[], "Fully connected.";
    Mha(MhaSpec) "mha" "MultiHeadAttention" 1 mha::KERNELS, "Multi-head attention with rotary positions.";
    SwiGlu(SwiGluSpec) "swiglu" "SwiGLU" 2 swiglu::KERNELS, "Gated feed-forward block.";
    RmsNorm(RmsNormSpec) "rmsnorm" "RMSNorm" 3 norm::KERNELS, "Root-mean-square normalisation.";
    Cnn1(ConvSpec<1>) "cnn1" "CNN1" 4 conv::KERNELS, "One-dimensional convolution.";
    Cnn2(ConvSpec<2>) "cnn2" "CNN2" 5 conv::KERNELS, "Two-dimensional convolution.";
    Cnn3(ConvSpec<3>) "cnn3" "CNN3" 6 conv::KERNELS, "Three-dimensional convolution.";
    Rnn(RnnSpec) "rnn" "RNN" 7 rnn::KERNELS, "Elman recurrent layer (tanh).";
    Lstm(LstmSpec) "lstm" "LSTM" 8 lstm::KERNELS, "Long short-term memory.";
    LayerNorm(LayerNormSpec) "layernorm" "LayerNorm" 9 norm::KERNELS, "Layer normalisation.";
    ConvTransposed1(ConvTransposedSpec<1>) "convtransposed1" "ConvTransposed1D" 10 conv_transposed::KERNELS, "One-dimensional transposed convolution.";
    ConvTransposed2(ConvTransposedSpec<2>) "convtransposed2" "ConvTransposed2D" 11 conv_transposed::KERNELS, "Two-dimensional transposed convolution.";
    ConvTransposed3(ConvTransposedSpec<3>) "convtransposed3" "ConvTransposed3D" 12 conv_transposed::KERNELS, "Three-dimensional transposed convolution.";
    Embedding(EmbeddingSpec) "embedding" "Embedding" 13 embedding::KERNELS, "Table look-up.";
    KMeans(KMeansSpec) "kmeans" "KMeans" 14 kmeans::KERNELS, "Soft assignment to cluster centres.";
    Softmax(SoftmaxSpec) "softmax" "Softmax" 15 softmax::KERNELS, "Softmax in ten variants.";
    Parallel(ParallelSpec) "parallel" "Parallel" 16 parallel::KERNELS, "Branches on one input, combined.";
    Sequential(SequentialSpec) "sequential" "Sequential" 17 &[], "Steps in order, with skips for residual steps.";
    Residual(ResidualSpec) "residual" "Residual" 18 residual::KERNELS, "Adds the skip.";
    Metacognition(MetacognitionSpec) "metacognition" "Metacognition" 19 &[], "Watches a layer and changes it by rules.";
    Activation(ActivationSpec) "activation" "Activation" 20 activation::KERNELS, "An activation alone.";
    PRelu(PReluSpec) "prelu" "PReLU" 21 prelu::KERNELS, "Leaky ReLU whose slopes are weights.";
    Affine(AffineSpec) "affine" "Affine" 22 affine::KERNELS, "A gain and a shift, by channel, feature or position.";
    BatchNorm(BatchNormSpec) "batchnorm" "BatchNorm" 23 batchnorm::KERNELS, "Batch normalisation by kept statistics.";
    GroupNorm(GroupNormSpec) "groupnorm" "GroupNorm" 24 groupnorm::KERNELS, "Group and instance normalisation.";
    L2Norm(L2NormSpec) "l2norm" "L2Norm" 25 l2norm::KERNELS, "Rows of length one.";
    Pool(PoolSpec) "pool" "Pool" 26 pool::KERNELS, "The largest element, mean or norm of windows.";
    Reduce(ReduceSpec) "reduce" "Reduce" 27 reduce::KERNELS, "The mean, sum or extreme over axes.";
    View(ViewSpec) "view" "View" 28 pick::KERNELS, "The same elements in another arrangement.";
    Resize(ResizeSpec) "resize" "Resize" 29 resize::KERNELS, "Other extents, by nearest elements or linearly.";
    OneHot(OneHotSpec) "onehot" "OneHot" 30 onehot::KERNELS, "Numbers as rows with a one.";
    Gru(GruSpec) "gru" "GRU" 31 gru::KERNELS, "Gated recurrent unit.";
}

impl LayerSpec {
    /// The configuration in JSON, without the kind: what [`LayerKind::read`] reads.
    pub(crate) fn configuration(&self) -> String {
        // Structures of numbers, strings and lists always have a form in JSON.
        by_family!(self, family => serde_json::to_string(family)).unwrap_or_default()
    }

    /// The roles that need weights and their shapes.
    #[must_use]
    pub fn roles(&self) -> Vec<RoleShape> {
        self.family().roles()
    }

    /// The same layer with every default said, layers inside aside: serialised, it leaves out only what has no value.
    #[must_use]
    pub fn with_defaults(&self) -> Self {
        by_family!(self, family => LayerSpec::from(family.with_defaults()))
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

    #[cfg(feature = "gpu")]
    pub(crate) fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        skip: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        self.family().record(recorder, layer, x, skip)
    }

    /// Says what is wrong with the configuration, if anything is.
    ///
    /// # Errors
    /// The field and what it should be.
    pub fn check(&self) -> std::result::Result<(), ConfigError> {
        self.family().check()?;
        self.roles().iter().try_for_each(|role| holdable(role.role.name(), &role.shape))
    }
}

/// The elements of a shape that a tensor has, or a product that is more than any run may hold.
fn elements(extents: &[usize]) -> usize {
    element_count(extents).unwrap_or(usize::MAX)
}

/// Element `i` of an optional shift: 0 where the layer has none.
fn shift(values: &[f64], i: usize) -> f64 {
    values.get(i).copied().unwrap_or(0.0)
}

/// The serde default of switches that are on unless a file says otherwise.
fn on() -> bool {
    true
}

/// The largest size that a configuration may name, and the most elements that one array of a
/// layer may have: far beyond any real model, and small enough that sums of sizes fit.
const LARGEST: usize = 1 << 30;

/// The most axes that an array of a layer, or an input that a layer names axes of, may have.
const MOST_AXES: usize = 8;

/// Rounded to f32; a NaN becomes the one NaN.
fn rounded(v: f64) -> f32 {
    if v.is_nan() { f32::NAN } else { v as f32 }
}

/// `Err` unless every named size is at least 1 and believable.
fn positive(sizes: &[(&'static str, usize)]) -> std::result::Result<(), ConfigError> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some(&(field, _)) => Err(ConfigError::Zero { field }),
        None => believable(sizes),
    }
}

/// `Err` when a named size is beyond [`LARGEST`].
fn believable(sizes: &[(&'static str, usize)]) -> std::result::Result<(), ConfigError> {
    match sizes.iter().find(|(_, size)| *size > LARGEST) {
        Some(&(field, found)) => Err(ConfigError::TooLarge { field, found, most: LARGEST }),
        None => Ok(()),
    }
}

/// `Err` when the product of `extents` is beyond [`LARGEST`].
fn holdable(array: &'static str, extents: &[usize]) -> std::result::Result<(), ConfigError> {
    match element_count(extents).filter(|&n| n <= LARGEST) {
        Some(_) => Ok(()),
        None => Err(ConfigError::Elements { array, extents: extents.to_vec(), most: LARGEST }),
    }
}
