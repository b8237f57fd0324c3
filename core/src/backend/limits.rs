//! The sizes that the kernels of the matrix product agree on.

/// Outputs that stand side by side.
pub(super) const PANEL: usize = 16;
/// Every range of k that is decoded starts at a multiple of this: the codes in one word of the
/// narrowest type.
pub(super) const STEP: usize = 32;
/// The most panels that one tile takes.
pub(super) const MAX_PANELS: usize = 4;
/// The most digits that a row is cut into.
pub(super) const MAX_DIGITS: usize = 7;
