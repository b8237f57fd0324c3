//! The transcendental functions of the arithmetic contract, in f64.
//!
//! Every function is a fixed sequence of `+ - * /`, `floor` and integer operations on the
//! bits, so that a WGSL twin can repeat it bit for bit. The host's `libm` is never called
//! (it differs between platforms) and nothing is fused. Errors are below 4 ulp of f64,
//! eight decimal digits under the f32 rounding that follows each use; the tests compare
//! with the standard library.

mod exp;
mod trig;

pub(crate) use exp::two_to;
pub use exp::{exp, ln, pow, sigmoid, tanh};
pub use trig::sin_cos;

/// sqrt(2/pi), the constant of the tanh form of GELU.
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

/// GELU in its tanh form: `v/2 * (1 + tanh(sqrt(2/pi) * (v + 0.044715 v^3)))`
/// (Hendrycks and Gimpel, 2016).
#[must_use]
pub fn gelu(v: f64) -> f64 {
    0.5 * v * (1.0 + tanh(SQRT_2_OVER_PI * (v + 0.044_715 * (v * v * v))))
}
