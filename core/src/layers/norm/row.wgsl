// What norms and attention share.

/// The root mean square of `n` elements.
fn rms_of(x: u32, n: u32, eps: real) -> real {
    var squares = real(0.0);
    for (var k = 0u; k < n; k += 1u) {
        let v = load(x + k);
        squares = squares + v * v;
    }
    return sqrt(squares / real(n) + eps);
}
