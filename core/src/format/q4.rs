//! Q4_0: blocks of 32 weights with a float32 scale each, as transformer checkpoints pack them.
//!
//! A blob is u32 blocks, u32 words, the scales, then the words: 16 bytes for each block, even
//! elements in the low nibble, and zero words up to a multiple of 64 and at least 512. Per block
//! `scale = max|w| / 7` and `code = round(w / scale)`, half away from zero, cut to -8..7. A weight
//! is `code * scale`. Source: `entity.md` section 6.

#![forbid(unsafe_code)]

use super::fault::{Fault, ensure};
use crate::error::Result;

/// Weights of a block.
const BLOCK: usize = 32;

/// The length of a blob of `n` weights, unless it overflows.
pub(super) fn len(n: usize) -> Option<usize> {
    let blocks = n.div_ceil(BLOCK);
    words(blocks)?.checked_add(blocks)?.checked_mul(4)?.checked_add(8)
}

fn words(blocks: usize) -> Option<usize> {
    Some(blocks.checked_mul(4)?.checked_next_multiple_of(64)?.max(512))
}

/// The packed blob of weights in row-major order.
#[must_use]
pub fn encode(weights: &[f32]) -> Vec<u8> {
    let blocks = weights.len().div_ceil(BLOCK);
    let words = words(blocks).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(8 + 4 * (blocks + words));
    bytes.extend_from_slice(&(blocks as u32).to_le_bytes());
    bytes.extend_from_slice(&(words as u32).to_le_bytes());
    let scale = |block: &[f32]| block.iter().fold(0f32, |max, w| if w.abs() > max { w.abs() } else { max }) / 7.0;
    weights.chunks(BLOCK).for_each(|block| bytes.extend_from_slice(&scale(block).to_le_bytes()));
    let start = bytes.len();
    bytes.resize(start + 4 * words, 0);
    for (block, packed) in weights.chunks(BLOCK).zip(bytes[start..].chunks_exact_mut(BLOCK / 2)) {
        let scale = scale(block);
        for (i, w) in block.iter().enumerate() {
            // A block of zeros has no scale to divide by.
            let code = if scale == 0.0 { 0 } else { (w / scale).round().clamp(-8.0, 7.0) as i8 };
            packed[i / 2] |= ((code as u8) & 15) << (4 * (i % 2));
        }
    }
    bytes
}

/// `Err` unless a blob holds `n` weights, all finite. Returns its scales and its codes.
pub(super) fn check<'a>(place: &dyn std::fmt::Display, blob: &'a [u8], n: usize) -> Result<(&'a [[u8; 4]], &'a [u8])> {
    let blocks = n.div_ceil(BLOCK);
    let number = |at: usize| blob.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])) as usize;
    let (said, words) = (number(0), number(4));
    let needed = words.checked_add(blocks).and_then(|n| n.checked_mul(4)).and_then(|n| n.checked_add(8));
    ensure(said == blocks && words >= 4 * blocks && needed == Some(blob.len()), || {
        let found = format!("{said} blocks and {words} words in {} bytes", blob.len());
        Fault::Length.at(place, format!("{found} where {n} weights need {blocks} blocks of Q4_0"))
    })?;
    let (scales, codes) = blob[8..].split_at(4 * blocks);
    let scales = scales.as_chunks().0;
    let scale = |i: usize| f32::from_le_bytes(scales[i]);
    // The codes reach from -8 to 7.
    match (0..blocks).find(|&i| !(8.0 * scale(i)).is_finite()) {
        Some(i) => {
            let what = format!("the scale of block {i} is {}, which makes weights that are not finite", scale(i));
            Err(Fault::NonFinite.at(place, what))
        }
        None => Ok((scales, codes)),
    }
}

/// The `n` weights of a blob.
pub(super) fn decode(place: &dyn std::fmt::Display, blob: &[u8], n: usize) -> Result<Vec<f32>> {
    let (scales, codes) = check(place, blob, n)?;
    let mut weights = Vec::with_capacity(n);
    for (i, (scale, codes)) in scales.iter().zip(codes.chunks_exact(BLOCK / 2)).enumerate() {
        let scale = f32::from_le_bytes(*scale);
        for j in 0..BLOCK.min(n - i * BLOCK) {
            let code = (codes[j / 2] << (4 * (1 - j % 2))) as i8 >> 4;
            weights.push(f32::from(code) * scale);
        }
    }
    Ok(weights)
}
