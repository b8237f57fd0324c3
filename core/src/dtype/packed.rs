//! Packed codes: whole bytes little-endian; below eight bits the first code stands in the highest bits of its byte, and
//! unused fields of the last byte are zero.

use super::Dtype;

/// A packed array is not as long as its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{codes} codes of {dtype} take {} bytes; {found} are there", needed.map_or("too many".into(), |n| n.to_string()))]
pub struct CodesError {
    /// The type.
    pub dtype: Dtype,
    /// How many codes there should be.
    pub codes: usize,
    /// Bytes that they take, unless the number overflows.
    pub needed: Option<usize>,
    /// Bytes that are there.
    pub found: usize,
}

/// Packs codes of `bits` bits.
pub(crate) fn pack(bits: usize, codes: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if bits >= 8 {
        for code in codes {
            bytes.extend_from_slice(&code.to_le_bytes()[..bits / 8]);
        }
        return bytes;
    }
    let per_byte = 8 / bits;
    for (i, code) in codes.enumerate() {
        let shift = 8 - bits * (i % per_byte + 1);
        if i % per_byte == 0 {
            bytes.push(0);
        }
        if let Some(last) = bytes.last_mut() {
            *last |= ((code & ((1 << bits) - 1)) as u8) << shift;
        }
    }
    bytes
}

/// Hands the codes from `start` on, `n` of them, to `each`, with their positions from 0. The
/// packed array is long enough.
pub(crate) fn unpack(bits: usize, bytes: &[u8], start: usize, n: usize, mut each: impl FnMut(usize, u64)) {
    fn whole<const N: usize>(bytes: &[u8], start: usize, n: usize, each: &mut impl FnMut(usize, u64)) {
        for (i, code) in bytes.as_chunks::<N>().0[start..start + n].iter().enumerate() {
            let mut wide = [0; 8];
            wide[..N].copy_from_slice(code);
            each(i, u64::from_le_bytes(wide));
        }
    }
    fn fields<const BITS: usize>(bytes: &[u8], start: usize, n: usize, each: &mut impl FnMut(usize, u64)) {
        let per_byte = 8 / BITS;
        for i in 0..n {
            let at = start + i;
            let shift = 8 - BITS * (at % per_byte + 1);
            each(i, u64::from(bytes[at / per_byte] >> shift) & ((1 << BITS) - 1));
        }
    }
    match bits {
        1 => fields::<1>(bytes, start, n, &mut each),
        2 => fields::<2>(bytes, start, n, &mut each),
        4 => fields::<4>(bytes, start, n, &mut each),
        8 => whole::<1>(bytes, start, n, &mut each),
        16 => whole::<2>(bytes, start, n, &mut each),
        32 => whole::<4>(bytes, start, n, &mut each),
        _ => whole::<8>(bytes, start, n, &mut each),
    }
}
