//! Exponential, logarithm and what is built from them.

const LOG2_E: f64 = std::f64::consts::LOG2_E;
/// ln 2 in two parts; the upper has 33 significant bits, so `k * LN2_HI` is exact.
const LN2_HI: f64 = 6.931_471_803_691_238e-1;
const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;

/// Reciprocal factorials 1/2! … 1/13!, the Taylor coefficients of `exp`.
const INV_FACTORIAL: [f64; 12] = [
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5040.0,
    1.0 / 40320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
];

/// `exp(r) - 1` for |r| <= ln(2)/2 + a little: a Taylor polynomial of degree 13.
fn expm1_reduced(r: f64) -> f64 {
    let mut p = INV_FACTORIAL[11];
    for c in INV_FACTORIAL[..11].iter().rev() {
        p = p * r + c;
    }
    r + (r * r) * p
}

/// 2 to the power `k`, for -1022 <= k <= 1023.
pub(crate) fn two_to(k: i64) -> f64 {
    f64::from_bits(((k + 1023) as u64) << 52)
}

/// e to the power `x`. Overflows to infinity above 709.78, reaches 0 below -745.13.
#[must_use]
pub fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x > 709.782_712_893_384 {
        return f64::INFINITY;
    }
    if x < -745.133_219_101_941_2 {
        return 0.0;
    }
    let k = (x * LOG2_E + 0.5).floor();
    let r = (x - k * LN2_HI) - k * LN2_LO;
    let y = 1.0 + expm1_reduced(r);
    let k = k as i64;
    // Two factors keep each power of two a normal number at both ends of the range.
    let half = k / 2;
    (y * two_to(half)) * two_to(k - half)
}

/// The natural logarithm. Zero gives -infinity, a negative number NaN.
#[must_use]
pub fn ln(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    if x == f64::INFINITY {
        return x;
    }
    let (x, shift) = if x < f64::MIN_POSITIVE { (x * two_to(54), 54) } else { (x, 0) };
    let bits = x.to_bits();
    let mut e = ((bits >> 52) as i64) - 1023 - shift;
    let mut m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | (1023 << 52));
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        e += 1;
    }
    // ln m = 2 atanh(s), s = (m-1)/(m+1), |s| < 0.172: the series to s^21.
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut p = 1.0 / 21.0;
    for d in [19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        p = p * z + 1.0 / d;
    }
    let e = e as f64;
    e * LN2_HI + (2.0 * s + (2.0 * (s * z) * p + e * LN2_LO))
}

/// `exp(x) - 1`, without cancellation near zero.
#[must_use]
pub fn expm1(x: f64) -> f64 {
    if x.abs() < 0.34 { expm1_reduced(x) } else { exp(x) - 1.0 }
}

/// `ln(1 + x)` for x >= 0, without losing a small x to the sum: what the rounding of `1 + x` changed is taken back
/// as a factor (Kahan).
#[must_use]
pub fn ln_1p(x: f64) -> f64 {
    let u = 1.0 + x;
    if u == 1.0 { x } else { ln(u) * (x / (u - 1.0)) }
}

/// `base` to the power `y` for a positive base: `exp(y ln base)`.
#[must_use]
pub fn pow(base: f64, y: f64) -> f64 {
    exp(y * ln(base))
}

/// The logistic function `1 / (1 + exp(-x))`.
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent. Small arguments go through `exp(2x) - 1` so that nothing cancels.
#[must_use]
pub fn tanh(x: f64) -> f64 {
    let a = x.abs();
    let y = if a < 0.17 {
        let t = expm1_reduced(2.0 * a);
        t / (t + 2.0)
    } else if a < 22.0 {
        1.0 - 2.0 / (exp(2.0 * a) + 1.0)
    } else if x.is_nan() {
        return x;
    } else {
        1.0
    };
    if x.is_sign_negative() { -y } else { y }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(name: &str, x: f64, ours: f64, std: f64, ulps: f64) {
        let bound = ulps * f64::EPSILON * std.abs() + f64::from_bits(1);
        assert!((ours - std).abs() <= bound, "{name}({x}) = {ours:e}, std has {std:e}");
    }

    #[test]
    fn agree_with_the_standard_library() {
        for i in -70_000..70_000 {
            let x = f64::from(i) * 0.01 + 1e-3;
            close("exp", x, exp(x), x.exp(), 3.0);
            close("tanh", x * 0.05, tanh(x * 0.05), (x * 0.05).tanh(), 6.0);
            close("sigmoid", x, sigmoid(x), 1.0 / (1.0 + (-x).exp()), 4.0);
            close("ln", x.abs(), ln(x.abs()), x.abs().ln(), 2.0);
            close("expm1", x * 0.01, expm1(x * 0.01), (x * 0.01).exp_m1(), 4.0);
            let small = exp(-x.abs());
            close("ln_1p", small, ln_1p(small), small.ln_1p(), 4.0);
        }
    }

    #[test]
    fn edges() {
        assert_eq!(exp(f64::INFINITY), f64::INFINITY);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
        assert!(exp(f64::NAN).is_nan() && tanh(f64::NAN).is_nan() && sigmoid(f64::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(tanh(-0.0).to_bits(), (-0.0f64).to_bits());
        assert_eq!((tanh(1e300), tanh(-1e300)), (1.0, -1.0));
        assert_eq!((sigmoid(-1e9), sigmoid(1e9)), (0.0, 1.0));
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(0.0), f64::NEG_INFINITY);
        assert!(ln(-1.0).is_nan());
        close("pow", 10_000.0, pow(10_000.0, -0.25), 0.1, 16.0);
    }
}
