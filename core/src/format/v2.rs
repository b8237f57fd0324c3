//! `.entity` version 2: binary topology, a compact index, one aligned blob per role.
//!
//! Described for strangers in `docs/entity-v2.md`. In short: 96 bytes of fixed header; sections,
//! each with the blobs of one layer that share a coding; the topology; the index, in columns.
//! Every byte is under a digest, and offsets follow from lengths, so that blobs can
//! neither overlap nor leave gaps.

#![forbid(unsafe_code)]

mod read;
mod tree;
mod write;

pub(super) use read::read;
#[doc(hidden)]
pub use read::reseal;
pub(super) use write::{Output, nodes, write};

/// Bytes of the fixed header.
pub(super) const FIXED: usize = 96;

/// Bytes of one section in the index, over all columns.
const ENTRY: usize = 28;

/// Flags of the fixed header.
const TOPOLOGY_ZSTD: u16 = 1;
const INDEX_ZSTD: u16 = 2;

/// Bits of a section's coding.
const STANDARD: u8 = 1;
const SECTION_ZSTD: u8 = 2;
const ZERO_POINT: u8 = 4;
const PER_HEAD: u8 = 8;

/// The dtype byte of Q4_0.
const Q4_0: u8 = 64;

/// Parts that are no role and no Q4 key.
const BIASES: u8 = 250;
const EMBEDDINGS: u8 = 252;
const LM_HEAD: u8 = 253;
const FINAL_NORM: u8 = 254;

/// The largest alignment of a blob.
const ALIGNMENT: usize = 64;

/// Where a blob of `len` bytes may start: at a multiple of this. A blob shorter than a cache line
/// never crosses one.
fn alignment(len: usize) -> usize {
    if len >= ALIGNMENT { ALIGNMENT } else { len.max(1).next_power_of_two() }
}

/// The extents of blobs inside a section, its length, and its own alignment.
fn arrange(prefix: usize, lens: &[usize]) -> Option<(Vec<usize>, usize, usize)> {
    let (mut starts, mut end) = (Vec::with_capacity(lens.len()), prefix);
    let mut most = alignment(prefix);
    for &len in lens {
        let align = alignment(len);
        most = most.max(align);
        let start = end.checked_next_multiple_of(align)?;
        starts.push(start);
        end = start.checked_add(len)?;
    }
    Some((starts, end, most))
}

/// One section as the index has it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Position of the layer among all, those inside others included; one past the last for what
    /// belongs to no layer.
    node: u32,
    part: u8,
    /// Roles in the section.
    count: u8,
    dtype: u8,
    coding: u8,
    scale: f32,
    stored: u64,
    digest: [u8; 8],
}
