// Sums of a row: what norms and attention share.

/// The sum of the squares of `n` elements.
fn squares_of(x: u32, n: u32) -> real {
    var squares = real(0.0);
    for (var k = 0u; k < n; k += 1u) {
        let v = load(x + k);
        squares = squares + v * v;
    }
    return squares;
}

/// The root mean square of `n` elements.
fn rms_of(x: u32, n: u32, eps: real) -> real {
    return sqrt(squares_of(x, n) / real(n) + eps);
}

struct Moments {
    mean: real,
    spread: real,
}

/// The mean of `n` elements, and the root of their variance and `eps`.
fn moments_of(x: u32, n: u32, eps: real) -> Moments {
    var sum = real(0.0);
    for (var k = 0u; k < n; k += 1u) {
        sum = sum + load(x + k);
    }
    let mean = sum / real(n);
    var squares = real(0.0);
    for (var k = 0u; k < n; k += 1u) {
        let d = load(x + k) - mean;
        squares = squares + d * d;
    }
    return Moments(mean, sqrt(squares / real(n) + eps));
}
