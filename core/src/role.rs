//! What an array is for a layer.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    Slope "slope" "Slope of an activation below zero.",
    Mean "mean" "Kept mean of a batch norm.",
    Variance "variance" "Kept variance of a batch norm.",
    RecurrentBias "recurrent_bias" "Shift of the product of a GRU's state that its reset gate acts on.",
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Role {
    /// Whether it is a gain, a shift or a bias, not a matrix, kernel or table.
    #[must_use]
    pub fn is_vector(self) -> bool {
        match self {
            Role::Bias | Role::Gamma | Role::Beta | Role::QNorm | Role::KNorm => true,
            Role::Slope | Role::Mean | Role::Variance | Role::RecurrentBias => true,
            Role::QBias | Role::KBias | Role::VBias | Role::OBias => true,
            Role::GateBias | Role::UpBias | Role::DownBias => true,
            Role::Weight | Role::QWeight | Role::KWeight | Role::VWeight | Role::OWeight => false,
            Role::GateWeight | Role::UpWeight | Role::DownWeight => false,
            Role::InputWeight | Role::RecurrentWeight | Role::Centers => false,
        }
    }

    /// Whether the original keeps it outside of the one array of a layer's weights.
    #[must_use]
    pub fn is_outside_array(self) -> bool {
        matches!(self, Role::QNorm | Role::KNorm)
    }
}
