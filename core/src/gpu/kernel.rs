//! The kernels: where their text stands, what dispatches them, and the ways they decode weights.

use super::Precision;
use super::tape::Limits;

/// What dispatches a kernel, and with which ways to decode weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Networks, with weights of any kind.
    Weighted,
    /// Networks, without weights.
    Weightless,
    /// Networks, for a lone row of long float weights: f64 and subgroups are needed.
    LoneRow,
    /// Networks, for a lone row of whole numbers: f64 is needed.
    LoneNarrowRow,
    /// Networks, for products of many rows, of weights that are not summed exactly.
    ManyRows,
    /// The probe, benchmarks and tests.
    Tools,
    /// Tests of f64 alone.
    #[cfg(test)]
    DoubleTools,
}

/// A kernel: its text and how it is dispatched. Kernels are told apart by their entry points.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The entry point.
    name: &'static str,
    caller: Caller,
    /// Items that one workgroup makes.
    per_group: u32,
    /// Invocations of a workgroup.
    invocations: u32,
    /// What stands after the common text.
    texts: &'static [&'static str],
}

/// The kernels of a family or a room: each as a constant, and all of them as `KERNELS`.
macro_rules! kernels {
    ($($(#[$only:meta])? $name:ident = $kernel:expr;)*) => {
        $($(#[$only])? pub(crate) const $name: &crate::gpu::Kernel = &$kernel;)*

        /// The kernels that stand here.
        pub(crate) const KERNELS: &[&crate::gpu::Kernel] = &[$($(#[$only])? $name,)*];
    };
}
pub(crate) use kernels;

/// Functions that few kernels need.
pub(crate) const SPECIAL: &str = include_str!("../math/special.wgsl");

kernels! {
    PROBE = Kernel::new("probe", Caller::Tools, &[include_str!("probe.wgsl")]);
    #[cfg(test)] TWIN = Kernel::new("twin", Caller::DoubleTools, &[SPECIAL, include_str!("../math/twin.wgsl")]);
    DECODE = Kernel::weighted("decode", &[include_str!("../dtype/decode.wgsl")]);
    TILES = Kernel::weighted("dense", &[include_str!("product/tiles.wgsl")]);
    GEMV = Kernel::new("gemv", Caller::LoneRow, &[include_str!("product/gemv.wgsl")]).grouped(32, 256);
    GEMV_NARROW =
        Kernel::new("gemv_narrow", Caller::LoneNarrowRow, &[include_str!("product/gemv_narrow.wgsl")]).grouped(64, 512);
    GEMM = Kernel::new("gemm", Caller::ManyRows, &[include_str!("product/gemm.wgsl")]).grouped(1, 256);
    PLAIN_GEMV = Kernel::new("plain_gemv", Caller::Tools, &[include_str!("plain.wgsl")]).grouped(1, 64);
    PLAIN_GEMM = Kernel::new("plain_gemm", Caller::Tools, &[include_str!("plain.wgsl")]).grouped(1, 256);
    PLAIN_COPY = Kernel::new("plain_copy", Caller::Tools, &[include_str!("plain.wgsl")]).grouped(1, 256);
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Kernel {}

impl PartialOrd for Kernel {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kernel {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(other.name)
    }
}

impl std::hash::Hash for Kernel {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Kernel {
    /// One invocation for each item, in workgroups of 64.
    pub(crate) const fn new(name: &'static str, caller: Caller, texts: &'static [&'static str]) -> Self {
        Self { name, caller, per_group: 64, invocations: 64, texts }
    }

    /// A kernel of networks with weights.
    pub(crate) const fn weighted(name: &'static str, texts: &'static [&'static str]) -> Self {
        Self::new(name, Caller::Weighted, texts)
    }

    /// A kernel of networks without weights.
    pub(crate) const fn weightless(name: &'static str, texts: &'static [&'static str]) -> Self {
        Self::new(name, Caller::Weightless, texts)
    }

    /// The same with other workgroups: the items that each makes, and its invocations.
    pub(crate) const fn grouped(self, per_group: u32, invocations: u32) -> Self {
        Self { per_group, invocations, ..self }
    }

    /// The entry point.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Items that one workgroup makes.
    pub(super) fn per_group(&self) -> u32 {
        self.per_group
    }

    /// Invocations of one workgroup.
    pub(super) fn invocations(&self) -> u32 {
        self.invocations
    }

    /// The ways to decode weights that networks ask of it on a device; none where only tools dispatch it.
    pub(super) fn rules(&self, limits: &Limits) -> Vec<DecodeRule> {
        let double = limits.precision == Precision::Double;
        let all_but =
            |left_out: DecodeRule| DecodeRule::ALL.into_iter().filter(move |rule| *rule != left_out).collect();
        match self.caller {
            Caller::Weighted => DecodeRule::ALL.to_vec(),
            Caller::Weightless => vec![DecodeRule::Plain],
            Caller::LoneRow if double && limits.large_groups && limits.subgroups => {
                vec![DecodeRule::Single, DecodeRule::Half, DecodeRule::Bfloat]
            }
            Caller::LoneNarrowRow if double && limits.large_groups => vec![DecodeRule::Narrow],
            Caller::ManyRows if limits.large_groups => all_but(DecodeRule::Narrow),
            _ => Vec::new(),
        }
    }

    /// Whether its text is written for f64 alone.
    #[cfg(test)]
    pub(super) fn is_double_only(&self) -> bool {
        matches!(self.caller, Caller::LoneRow | Caller::LoneNarrowRow | Caller::DoubleTools)
    }

    /// The whole text in one precision.
    pub(super) fn source(&self, precision: Precision) -> String {
        let (real, math, weights) = match precision {
            Precision::Double => {
                (include_str!("double.wgsl"), include_str!("../math/double.wgsl"), include_str!("../dtype/double.wgsl"))
            }
            Precision::Single => {
                (include_str!("single.wgsl"), include_str!("../math/single.wgsl"), include_str!("../dtype/single.wgsl"))
            }
        };
        let common = [
            include_str!("common.wgsl"),
            real,
            math,
            include_str!("../dtype/codes.wgsl"),
            weights,
            include_str!("../dtype/sum.wgsl"),
            include_str!("../activation.wgsl"),
        ];
        common.iter().chain(self.texts).copied().collect::<Vec<_>>().join("\n")
    }
}

/// How a pipeline decodes weights: RULE in `dtype/double.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum DecodeRule {
    /// A table of values. Kernels without weights say this too.
    Plain = -1,
    Table = 0,
    Narrow = 1,
    Half = 2,
    Bfloat = 3,
    Single = 4,
    Double = 5,
    Short = 6,
    Long = 7,
    LongFull = 8,
    Longer = 9,
    LongerFull = 10,
}

impl DecodeRule {
    /// Every way.
    pub(super) const ALL: [DecodeRule; 12] = [
        DecodeRule::Plain,
        DecodeRule::Table,
        DecodeRule::Narrow,
        DecodeRule::Half,
        DecodeRule::Bfloat,
        DecodeRule::Single,
        DecodeRule::Double,
        DecodeRule::Short,
        DecodeRule::Long,
        DecodeRule::LongFull,
        DecodeRule::Longer,
        DecodeRule::LongerFull,
    ];

    /// The value of the override constant.
    pub(super) fn number(self) -> f64 {
        f64::from((self as i32).max(0))
    }
}
