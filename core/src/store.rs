//! Weight stores: one per role of a layer.
//!
//! A layer never owns one flat array. Each role has a store of its own, so that one role
//! can later be held in another dtype than its neighbour; the flat order of Loom's files is
//! a packing order ([`crate::format::flat`]), not a model.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::backend::{MatRef, Panels};
use crate::error::{Error, Result};

macro_rules! roles {
    ($($variant:ident $name:literal $doc:literal,)*) => {
        /// What an array is for a layer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Role { $(#[doc = $doc] $variant,)* }

        impl Role {
            /// Every role.
            pub const ALL: &'static [Role] = &[$(Role::$variant,)*];

            /// The name used in array names and messages.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Role::$variant => $name,)* }
            }
        }
    };
}

roles! {
    Weight "weight" "Main matrix, kernel or table: `[out, in]`, `[filters, channels, k…]`, `[vocab, dim]`.",
    Bias "bias" "Shift added to the sums of `weight`.",
    Gamma "gamma" "Gain of a norm.",
    Beta "beta" "Shift of a norm.",
    QWeight "q_weight" "Query projection `[query_dim, d_model]`.",
    KWeight "k_weight" "Key projection `[kv_dim, d_model]`.",
    VWeight "v_weight" "Value projection `[kv_dim, d_model]`.",
    OWeight "o_weight" "Output projection `[d_model, query_dim]`.",
    QBias "q_bias" "Shift of the query projection.",
    KBias "k_bias" "Shift of the key projection.",
    VBias "v_bias" "Shift of the value projection.",
    OBias "o_bias" "Shift of the output projection.",
    QNorm "q_norm" "Gain of the per-head query norm.",
    KNorm "k_norm" "Gain of the per-head key norm.",
    GateWeight "gate_weight" "Gate matrix of SwiGLU `[intermediate, in]`.",
    UpWeight "up_weight" "Up matrix of SwiGLU `[intermediate, in]`.",
    DownWeight "down_weight" "Down matrix of SwiGLU `[in, intermediate]`.",
    GateBias "gate_bias" "Shift of the gate.",
    UpBias "up_bias" "Shift of the up projection.",
    DownBias "down_bias" "Shift of the down projection.",
    InputWeight "input_weight" "Input matrix of a recurrent layer `[gates * hidden, in]`, gates in the order i, f, g, o.",
    RecurrentWeight "recurrent_weight" "Recurrent matrix `[gates * hidden, hidden]`, same gate order.",
    Centers "centers" "Cluster centres `[clusters, features]`.",
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The stores of one layer.
pub type Weights = BTreeMap<Role, WeightStore>;

/// The weights of one role, always finite. Cheap to clone: the elements are shared.
#[derive(Clone, Debug)]
pub struct WeightStore {
    shape: Vec<usize>,
    data: Arc<[f32]>,
    panels: Arc<OnceLock<Panels>>,
}

impl WeightStore {
    /// Takes f32 weights in row-major order.
    ///
    /// # Errors
    /// [`Error::Shape`] when the product of `shape` is not the number of elements,
    /// [`Error::NonFinite`] when one of them is NaN or infinite.
    pub fn f32(shape: Vec<usize>, data: Vec<f32>) -> Result<Self> {
        if crate::tensor::element_count(&shape) != Some(data.len()) {
            return Err(Error::Shape { shape, elements: data.len() });
        }
        if let Some(index) = data.iter().position(|v| !v.is_finite()) {
            return Err(Error::NonFinite { index, value: data[index] });
        }
        Ok(Self { shape, data: data.into(), panels: Arc::default() })
    }

    /// The extent of every axis, slowest first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements in row-major order.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.data
    }

    /// The store as a matrix of `shape[0]` outputs; the other axes are summed over.
    pub(crate) fn matrix(&self) -> MatRef<'_> {
        let outs = self.shape[0];
        MatRef::rows(&self.data, outs, self.data.len() / outs.max(1)).kept_in(&self.panels)
    }
}
