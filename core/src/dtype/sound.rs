//! Whether packed codes are finite weights of their type, found out at about the speed of memory.

use rayon::prelude::*;

use super::{Affine, Dtype, Numerics, Rule, unpack};

/// Bytes that one thread looks at.
const ALONE: usize = 4 << 20;

/// Elements that are looked at before a fault among them is looked for.
const RUN: usize = 1 << 12;

impl Dtype {
    /// The first of `n` packed codes that is no finite weight of this type: its position and code.
    pub(crate) fn first_unsound(
        self,
        numerics: Numerics,
        affine: Affine,
        bytes: &[u8],
        n: usize,
    ) -> Option<(usize, u64)> {
        let sound = |code: u64| self.has(code) && self.value(numerics, code, affine).is_finite();
        let clean = match (self.rule(numerics), self.bits()) {
            (Rule::Ieee, 64) => !any(bytes, |b: &[u8; 8]| u64::from_le_bytes(*b) & ONES_64 == ONES_64),
            (Rule::Ieee, 32) => !any(bytes, |b: &[u8; 4]| u32::from_le_bytes(*b) & 0x7f80_0000 == 0x7f80_0000),
            (Rule::Ieee, _) => !any(bytes, |b: &[u8; 2]| u16::from_le_bytes(*b) & 0x7c00 == 0x7c00),
            (Rule::Bfloat, _) => !any(bytes, |b: &[u8; 2]| u16::from_le_bytes(*b) & 0x7f80 == 0x7f80),
            // The ends of the range are the largest magnitudes.
            (Rule::Integer(_) | Rule::WideInteger(_), bits) => {
                let top = u64::MAX >> (64 - bits);
                [0, top / 2, top / 2 + 1, top].into_iter().all(sound)
            }
            (Rule::Narrow | Rule::Table, bits) => {
                let mask = u64::MAX >> (64 - bits);
                let whole = |byte: u64| (0..8 / bits).all(|i| sound(byte >> (i * bits) & mask));
                let unsound: Vec<bool> = (0..256).map(|byte| !whole(byte)).collect();
                !unsound.contains(&true) || !any(bytes, |b: &[u8; 1]| unsound[usize::from(b[0])])
            }
        };
        if clean {
            return None;
        }
        (0..n).step_by(RUN).find_map(|start| {
            let mut found = None;
            unpack(self.bits(), bytes, start, RUN.min(n - start), |i, code| {
                if found.is_none() && !sound(code) {
                    found = Some((start + i, code));
                }
            });
            found
        })
    }
}

const ONES_64: u64 = 0x7ff0_0000_0000_0000;

/// Whether a test holds for any element: whole runs are tested, so that it can run as fast as
/// memory is read.
fn any<const N: usize>(bytes: &[u8], test: impl Fn(&[u8; N]) -> bool + Sync) -> bool {
    let run = |run: &[[u8; N]]| run.iter().fold(false, |any, b| any | test(b));
    let elements = bytes.as_chunks().0;
    if bytes.len() < ALONE {
        return elements.chunks(RUN).any(run);
    }
    elements.par_chunks(1 << 17).any(|part| part.chunks(RUN).any(run))
}
