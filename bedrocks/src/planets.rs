//! The planets and how each lays out its arrays: the one table that relayout reads.

/// Order of a matrix's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixOrder {
    /// `[out, in]`, as Loom.
    OutIn,
    /// `[in, out]`.
    InOut,
}

/// Order of a convolution kernel's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelOrder {
    /// `[out, in, spatial…]`, as Loom.
    OutInSpatial,
    /// `[spatial…, in, out]`.
    SpatialInOut,
}

/// Order of the axes of a transposed convolution's kernel, and which way round it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransposedOrder {
    /// `[in, out of a group, spatial…]`.
    InOutSpatial,
    /// `[spatial…, out, in]`.
    SpatialOutIn,
    /// `[spatial…, in, out]`, each spatial axis backwards.
    SpatialInOutFlipped,
}

/// Where a convolution's output has its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOrder {
    /// `[batch, channels, spatial…]`, as Loom.
    First,
    /// `[batch, spatial…, channels]`.
    Last,
}

/// How the gates of a recurrent layer are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateLayout {
    /// One array, gates stacked along the output axis in the order i, f, g, o, as Loom.
    Stacked,
    /// One array for each gate, named `role.gate`.
    Separate,
}

/// The order of a GRU's gates where they are stacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GruOrder {
    /// r, z, n, as Loom.
    ResetFirst,
    /// z, r, n.
    UpdateFirst,
}

/// How many biases a recurrent layer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BiasLayout {
    /// One, as Loom.
    Fused,
    /// One on the input side and one on the recurrent side, which are added.
    Split,
}

/// A planet's conventions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planet {
    /// The name used in manifests, paths and on the command line.
    pub id: &'static str,
    /// The name shown to people.
    pub title: &'static str,
    /// Order of a matrix's axes.
    pub matrix: MatrixOrder,
    /// Order of a kernel's axes.
    pub kernel: KernelOrder,
    /// Order of a transposed convolution's kernel.
    pub transposed: TransposedOrder,
    /// Where convolution outputs have their channels.
    pub channels: ChannelOrder,
    /// How gates are kept.
    pub gates: GateLayout,
    /// How recurrent biases are kept.
    pub bias: BiasLayout,
    /// The order of a GRU's gates where they are stacked.
    pub gru: GruOrder,
}

/// Every planet, in the order of every table.
pub const PLANETS: &[Planet] = &[
    Planet {
        id: "pytorch",
        title: "PyTorch",
        matrix: MatrixOrder::OutIn,
        kernel: KernelOrder::OutInSpatial,
        transposed: TransposedOrder::InOutSpatial,
        channels: ChannelOrder::First,
        gates: GateLayout::Stacked,
        bias: BiasLayout::Split,
        gru: GruOrder::ResetFirst,
    },
    Planet {
        id: "tensorflow",
        title: "TensorFlow (Keras)",
        matrix: MatrixOrder::InOut,
        kernel: KernelOrder::SpatialInOut,
        transposed: TransposedOrder::SpatialOutIn,
        channels: ChannelOrder::Last,
        gates: GateLayout::Stacked,
        bias: BiasLayout::Fused,
        gru: GruOrder::UpdateFirst,
    },
    Planet {
        id: "jax",
        title: "JAX (Flax)",
        matrix: MatrixOrder::InOut,
        kernel: KernelOrder::SpatialInOut,
        transposed: TransposedOrder::SpatialInOutFlipped,
        channels: ChannelOrder::Last,
        gates: GateLayout::Separate,
        bias: BiasLayout::Fused,
        gru: GruOrder::ResetFirst,
    },
    Planet {
        id: "sklearn",
        title: "scikit-learn",
        matrix: MatrixOrder::InOut,
        kernel: KernelOrder::SpatialInOut,
        transposed: TransposedOrder::SpatialOutIn,
        channels: ChannelOrder::Last,
        gates: GateLayout::Stacked,
        bias: BiasLayout::Fused,
        gru: GruOrder::ResetFirst,
    },
];

/// The planet of a name.
#[must_use]
pub fn find(id: &str) -> Option<&'static Planet> {
    PLANETS.iter().find(|planet| planet.id == id)
}
