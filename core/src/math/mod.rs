//! The transcendental functions of the arithmetic contract, in f64.
//!
//! Every function is a fixed sequence of `+ - * /`, `floor` and integer operations on the
//! bits, so that a WGSL twin can repeat it bit for bit. The host's `libm` is never called
//! (it differs between platforms) and nothing is fused. Errors are below 4 ulp of f64,
//! eight decimal digits under the f32 rounding that follows each use; the tests compare
//! with the standard library.

mod erf;
mod exp;
mod trig;

pub use erf::erfc;
pub(crate) use exp::two_to;
pub use exp::{exp, expm1, ln, ln_1p, pow, sigmoid, tanh};
pub use trig::sin_cos;

/// sqrt(2/pi), the constant of the tanh form of GELU.
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

/// GELU in its tanh form: `v/2 * (1 + tanh(sqrt(2/pi) * (v + 0.044715 v^3)))`
/// (Hendrycks and Gimpel, 2016).
#[must_use]
pub fn gelu(v: f64) -> f64 {
    0.5 * v * (1.0 + tanh(SQRT_2_OVER_PI * (v + 0.044_715 * (v * v * v))))
}

/// GELU as it is defined: `v/2 * (1 + erf(v / sqrt 2))`, by way of erfc, so that no digits are lost below zero.
#[must_use]
pub fn gelu_erf(v: f64) -> f64 {
    0.5 * v * erfc(-(v * std::f64::consts::FRAC_1_SQRT_2))
}

/// `ln(1 + exp v)`, in the form that neither overflows nor cancels.
#[must_use]
pub fn softplus(v: f64) -> f64 {
    let positive = if v < 0.0 { 0.0 } else { v };
    positive + ln_1p(exp(-v.abs()))
}

/// `v tanh(softplus v) = v n / (n + 2)` with `n = exp v (exp v + 2)` (Misra, 2019); beyond 30 that is `v` in f64.
#[must_use]
pub fn mish(v: f64) -> f64 {
    if v > 30.0 {
        return v;
    }
    let e = exp(v);
    let n = e * (e + 2.0);
    v * (n / (n + 2.0))
}
