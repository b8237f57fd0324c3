//! Sine and cosine for rotary position tables.

/// pi/2 in three parts of 33 bits: `n` times the first two is exact for |n| < 2^20.
const PIO2: [f64; 3] = [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_795_950_6e-21];

/// Sine and cosine of `x` in radians, accurate for |x| < 10^6.
#[must_use]
pub fn sin_cos(x: f64) -> (f64, f64) {
    let n = (x * std::f64::consts::FRAC_2_PI + 0.5).floor();
    let r = ((x - n * PIO2[0]) - n * PIO2[1]) - n * PIO2[2];
    let z = r * r;
    let (mut s, mut c) = (1.0, 1.0);
    for k in (1..=9).rev() {
        let k = f64::from(2 * k);
        s = 1.0 - z * s / (k * (k + 1.0));
        c = 1.0 - z * c / ((k - 1.0) * k);
    }
    let s = r * s;
    match (n as i64).rem_euclid(4) {
        0 => (s, c),
        1 => (c, -s),
        2 => (-s, -c),
        _ => (-c, s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_standard_library() {
        for i in -200_000..200_000 {
            let x = f64::from(i) * 0.031_7;
            let (s, c) = sin_cos(x);
            assert!((s - x.sin()).abs() < 1e-15 && (c - x.cos()).abs() < 1e-15, "x = {x}: {s} {c}");
        }
    }
}
