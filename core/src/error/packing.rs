//! What keeps the weights of a layer from being one array, or an array from being the weights of a layer.

use super::{ConfigError, Error};
use crate::dtype::Dtype;
use crate::role::Role;

/// Why weights cannot be packed into one array or taken out of it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PackingError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The layer's configuration cannot be read.
    #[error("{what}")]
    Configuration {
        /// What is wrong with it.
        what: String,
    },
    /// The array has more elements than the machine can address.
    #[error("its size overflows")]
    Overflow {
        /// The extents of what the array holds, one part after the other.
        parts: Vec<Vec<usize>>,
    },
    /// A role is missing, or of another shape.
    #[error("no {role} weights of shape {expected:?}")]
    Missing {
        /// The role.
        role: Role,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
        /// The shape of the weights that are there, if any.
        found: Option<Vec<usize>>,
    },
    /// Roles are stored in two types.
    #[error("weights of {first} and of {other}; one array holds one type")]
    Mixed {
        /// The type of the first role.
        first: Dtype,
        /// The type of one that differs.
        other: Dtype,
    },
    /// The array is longer or shorter than the roles need.
    #[error("{found} weights where {kind} needs {expected}")]
    Length {
        /// The layer's kind.
        kind: &'static str,
        /// Weights that the roles need.
        expected: usize,
        /// Weights given.
        found: usize,
    },
    /// The norm of queries or keys has as many gains as neither a head nor all heads together.
    #[error("{found} gains where a head has {head} and all heads have {all}")]
    Gains {
        /// Gains given.
        found: usize,
        /// Features of a head.
        head: usize,
        /// Features of all heads.
        all: usize,
    },
    /// The weights of a role cannot be stored.
    #[error("{role}: {error}")]
    Store {
        /// The role.
        role: Role,
        /// What is wrong.
        error: Box<Error>,
    },
}
