//! The 21 numerical types of weights: one list, one file per family of codecs.
//!
//! A codec turns weights into codes of `bits` bits and back. What a code means depends on
//! the [`Numerics`] profile: `loom` is what the original runtime 0.80 does, to the bit;
//! `standard` is what a user expects of the type's name. An [`Affine`] map (scale and zero
//! point) joins the codes of a tensor to its weights.
//!
//! Packing is the same in both: whole bytes little-endian; below eight bits the first code
//! stands in the highest bits of its byte, and unused fields of the last byte are zero.
//!
//! # Edges
//!
//! | weight | what becomes of it |
//! |---|---|
//! | -0.0 | float types and `standard` fp4 keep the sign; elsewhere it is the code of 0 (`standard` binary: +1) |
//! | subnormal | kept where the type has a value near it, otherwise 0; a scale never underflows in `standard`, and may be 0 in `loom`, as in the original |
//! | infinity, NaN | the codec saturates, or keeps what IEEE keeps; a [`crate::WeightStore`] holds neither |
//! | beyond the range | saturates; float16 and bfloat16 follow IEEE to infinity, which a store refuses |
//! | all zero, or none | scale 1 |
//! | one huge outlier | takes the range; small weights become 0, nothing wraps |

mod float;
mod fp4;
mod fp8;
pub(crate) mod integer;
mod packed;
mod scale;
mod sign;
mod sound;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use packed::CodesError;
pub(crate) use packed::{pack, unpack};
pub use scale::{Affine, Magnitudes};

/// How codes are chosen and read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numerics {
    /// The original runtime, version 0.80: truncation, its own FP8 and FP4 tables, at most
    /// 127 steps for wide integers, magnitudes only for unsigned types.
    Loom,
    /// Round to nearest even, OCP FP8 and FP4, full-range integers, unsigned types around a
    /// mid-range zero point.
    #[default]
    Standard,
}

impl Numerics {
    /// Both profiles.
    pub const ALL: [Numerics; 2] = [Numerics::Loom, Numerics::Standard];
}

impl Numerics {
    /// The name used in case ids and on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Numerics::Loom => "loom",
            Numerics::Standard => "standard",
        }
    }
}

impl fmt::Display for Numerics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How kernels turn packed codes into weights. But for [`Rule::Narrow`], whatever they do gives
/// what [`Dtype::value`] gives for each code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// IEEE patterns of the type's width; the scale is not used.
    Ieee,
    /// The upper half of an IEEE single; the scale is not used.
    Bfloat,
    /// `f32(f32(code - zero_point) * scale)` of an integer.
    Integer(Sign),
    /// `(code - zero_point) * scale` of an integer, rounded once to f64.
    WideInteger(Sign),
    /// Whole numbers of at most eight bits: the matrix kernel sums their products exactly, rounds
    /// once to f64 and then multiplies by the scale, which is not rounded into each weight as in
    /// [`Dtype::value`]. [`Dtype::numbers`] has the number of each code.
    Narrow,
    /// A table of the value of every code: [`Dtype::table`].
    Table,
}

impl Rule {
    /// Whether weights may need more digits than f32 has, so that their products with f32
    /// numbers are not exact in f64.
    #[must_use]
    pub fn is_wide(self, bits: usize) -> bool {
        matches!(self, Rule::WideInteger(_)) || (self == Rule::Ieee && bits == 64)
    }
}

/// Whether an integer's codes are two's complement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// They are.
    Signed,
    /// They count from 0.
    Unsigned,
}

/// How a family of types chooses scales, codes and values.
///
/// A code travels in the low bits of a `u64`; the values of a codec are f64 because a scale
/// or a code may need more digits than f32 has.
trait Codec: Sync {
    /// The scale chosen for a tensor; each family documents its rule.
    fn scale(&self, numerics: Numerics, weights: &Magnitudes) -> f32;

    /// The code of weight 0 in types that shift their range.
    fn zero_point(&self, _: Numerics) -> u64 {
        0
    }

    /// The code of one weight.
    fn encode(&self, numerics: Numerics, weight: f64, affine: Affine) -> u64;

    /// The weight that a code stands for.
    fn decode(&self, numerics: Numerics, code: u64, affine: Affine) -> f64;

    /// How a kernel does what [`Codec::decode`] says, many codes at a time.
    fn rule(&self, _: Numerics) -> Rule {
        Rule::Table
    }

    /// Whether a code is one that this type has.
    fn has(&self, _code: u64) -> bool {
        true
    }

    /// The largest `|decode(encode(w)) - w|` for a finite weight of a tensor that chose `scale`.
    fn bound(&self, numerics: Numerics, weight: f64, scale: f32) -> f64;
}

macro_rules! dtypes {
    ($($variant:ident $name:literal $id:literal $bits:literal [$($alias:literal)*] $codec:expr, $doc:literal;)*) => {
        /// A numerical type. The discriminant is its id in files.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Dtype { $(#[doc = $doc] $variant = $id,)* }

        impl Dtype {
            /// Every type, by id.
            pub const ALL: &'static [Dtype] = &[$(Dtype::$variant,)*];

            /// The name written to files.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Dtype::$variant => $name,)* }
            }

            /// Bits of one code.
            #[must_use]
            pub fn bits(self) -> usize {
                match self { $(Dtype::$variant => $bits,)* }
            }

            /// Other names that files may carry, in upper case.
            #[must_use]
            pub fn aliases(self) -> &'static [&'static str] {
                match self { $(Dtype::$variant => &[$($alias,)*],)* }
            }

            fn codec(self) -> &'static dyn Codec {
                match self { $(Dtype::$variant => &$codec,)* }
            }
        }
    };
}

dtypes! {
    Float64 "float64" 0 64 ["FP64" "F64"] float::Float64, "IEEE double.";
    Float32 "float32" 1 32 ["FP32" "F32"] float::Float32, "IEEE single.";
    Float16 "float16" 2 16 ["FP16" "F16"] float::Float16, "IEEE half.";
    BFloat16 "bfloat16" 3 16 ["BF16"] float::BFloat16, "The upper half of an IEEE single.";
    Fp8E4M3 "fp8e4m3" 4 8 ["FP8"] fp8::E4M3, "Eight bits: 4 of exponent, 3 of mantissa, no infinity.";
    Fp8E5M2 "fp8e5m2" 5 8 [] fp8::E5M2, "Eight bits: 5 of exponent, 2 of mantissa.";
    Int64 "int64" 6 64 ["I64"] integer::Signed(64), "Signed, 64 bits.";
    Int32 "int32" 7 32 ["I32"] integer::Signed(32), "Signed, 32 bits.";
    Int16 "int16" 8 16 ["I16"] integer::Signed(16), "Signed, 16 bits.";
    Int8 "int8" 9 8 ["I8"] integer::Signed(8), "Signed, 8 bits.";
    Uint64 "uint64" 10 64 ["U64"] integer::Unsigned(64), "Unsigned, 64 bits.";
    Uint32 "uint32" 11 32 ["U32"] integer::Unsigned(32), "Unsigned, 32 bits.";
    Uint16 "uint16" 12 16 ["U16"] integer::Unsigned(16), "Unsigned, 16 bits.";
    Uint8 "uint8" 13 8 ["U8"] integer::Unsigned(8), "Unsigned, 8 bits.";
    Int4 "int4" 14 4 [] integer::Signed(4), "Signed, 4 bits.";
    Uint4 "uint4" 15 4 [] integer::Unsigned(4), "Unsigned, 4 bits.";
    Fp4 "fp4" 16 4 ["F4"] fp4::Fp4, "Four bits: 2 of exponent, 1 of mantissa.";
    Int2 "int2" 17 2 [] integer::Signed(2), "Signed, 2 bits.";
    Uint2 "uint2" 18 2 [] integer::Unsigned(2), "Unsigned, 2 bits.";
    Ternary "ternary" 19 2 [] sign::Ternary, "-1, 0 or 1.";
    Binary "binary" 20 1 [] sign::Binary, "-1 or 1.";
}

impl Dtype {
    /// The type of a name or alias, in any letter case.
    #[must_use]
    pub fn find(name: &str) -> Option<Dtype> {
        let is = |known: &&str| known.eq_ignore_ascii_case(name);
        Dtype::ALL.iter().copied().find(|dtype| is(&dtype.name()) || dtype.aliases().iter().any(is))
    }

    /// The map that this type chooses for weights of these magnitudes; scale 1 where all are 0.
    #[must_use]
    pub fn choose(self, numerics: Numerics, weights: &Magnitudes) -> Affine {
        let codec = self.codec();
        Affine { scale: codec.scale(numerics, weights), zero_point: codec.zero_point(numerics) }
    }

    /// A map with a scale of the caller's.
    #[must_use]
    pub fn affine(self, numerics: Numerics, scale: f32) -> Affine {
        Affine { scale, zero_point: self.codec().zero_point(numerics) }
    }

    /// The largest zero point that codes of this type can have: 0 in types that do not shift
    /// their range.
    #[must_use]
    pub fn largest_zero_point(self, numerics: Numerics) -> u64 {
        if self.codec().zero_point(numerics) == 0 { 0 } else { u64::MAX >> (64 - self.bits()) }
    }

    /// The packed codes of `weights`.
    #[must_use]
    pub fn quantise(self, numerics: Numerics, weights: impl IntoIterator<Item = f64>, affine: Affine) -> Vec<u8> {
        let codec = self.codec();
        self.pack(weights.into_iter().map(|w| codec.encode(numerics, w, affine)))
    }

    /// Packs codes of this type.
    #[must_use]
    pub fn pack(self, codes: impl IntoIterator<Item = u64>) -> Vec<u8> {
        pack(self.bits(), codes.into_iter())
    }

    /// The first `n` weights of packed codes, in full precision.
    ///
    /// # Errors
    /// As [`Dtype::codes`].
    pub fn dequantise(
        self,
        numerics: Numerics,
        bytes: &[u8],
        n: usize,
        affine: Affine,
    ) -> Result<Vec<f64>, CodesError> {
        let codec = self.codec();
        Ok(self.codes(bytes, n)?.into_iter().map(|code| codec.decode(numerics, code, affine)).collect())
    }

    /// The first `n` codes of a packed array.
    ///
    /// # Errors
    /// Both lengths unless `bytes` is exactly as long as `n` codes need.
    pub fn codes(self, bytes: &[u8], n: usize) -> Result<Vec<u64>, CodesError> {
        let needed = self.packed_len(n);
        if needed != Some(bytes.len()) {
            return Err(CodesError { dtype: self, codes: n, needed, found: bytes.len() });
        }
        let mut codes = Vec::with_capacity(n);
        unpack(self.bits(), bytes, 0, n, |_, code| codes.push(code));
        Ok(codes)
    }

    /// The weight of one code.
    #[must_use]
    pub fn value(self, numerics: Numerics, code: u64, affine: Affine) -> f64 {
        self.codec().decode(numerics, code, affine)
    }

    /// Whether a code stands for a weight of this type, whatever the scale.
    #[must_use]
    pub fn has(self, code: u64) -> bool {
        self.codec().has(code)
    }

    /// How kernels decode this type.
    #[must_use]
    pub fn rule(self, numerics: Numerics) -> Rule {
        self.codec().rule(numerics)
    }

    /// Whether its weights may need more digits than f32 has.
    #[must_use]
    pub fn is_wide(self, numerics: Numerics) -> bool {
        self.rule(numerics).is_wide(self.bits())
    }

    /// The weight of every code of a type with at most 8 bits, by code.
    #[must_use]
    pub fn table(self, numerics: Numerics, affine: Affine) -> Vec<f32> {
        debug_assert!(self.bits() <= 8);
        (0..1u64 << self.bits().min(8)).map(|code| self.value(numerics, code, affine) as f32).collect()
    }

    /// The number of every code of a [`Rule::Narrow`] type, less the zero point, by code.
    #[must_use]
    pub fn numbers(self, numerics: Numerics, affine: Affine) -> Vec<i32> {
        let unit = Affine { scale: 1.0, ..affine };
        self.table(numerics, unit).into_iter().map(|number| number as i32).collect()
    }

    /// The largest error of storing a finite weight of a tensor that chose `scale` itself. Where
    /// a type clips (ternary, binary, `loom` unsigned), what is cut off counts as error. Subnormal
    /// scales of the `loom` profile, which are rounded to nearest or to 0, are not bounded.
    #[must_use]
    pub fn error_bound(self, numerics: Numerics, weight: f64, scale: f32) -> f64 {
        // The product of value and scale is itself rounded, at worst to a subnormal.
        let rounding = if self.is_wide(numerics) { f64::EPSILON } else { f64::from(f32::EPSILON) };
        self.codec().bound(numerics, weight, scale) + (weight.abs() * rounding).max(f64::from(f32::from_bits(1)))
    }

    /// Bytes of `n` packed codes, unless the number overflows.
    #[must_use]
    pub fn packed_len(self, n: usize) -> Option<usize> {
        n.checked_mul(self.bits()).map(|bits| bits.div_ceil(8))
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `weight / scale`: in single precision as the original has it, or in double.
fn quotient(numerics: Numerics, weight: f64, scale: f32) -> f64 {
    match numerics {
        Numerics::Loom => f64::from(weight as f32 / scale),
        Numerics::Standard => weight / f64::from(scale),
    }
}

/// A code's value times the scale, rounded to f32 as a kernel uses it.
fn scaled(value: f64, scale: f32) -> f64 {
    f64::from((value * f64::from(scale)) as f32)
}
