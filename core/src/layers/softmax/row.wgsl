// Softmax in place: what attention, gates, clusters and the softmax layer share.

fn is_minus_infinity(v: real) -> bool {
    return v == -infinity();
}

/// The largest element, not counting NaN.
fn max_of(x: u32, n: u32) -> real {
    var most = -infinity();
    for (var k = 0u; k < n; k += 1u) {
        let v = load(x + k);
        if (v > most) {
            most = v;
        }
    }
    return select(most, real(0.0), is_minus_infinity(most));
}

fn sum_of_exps(x: u32, n: u32, most: real) -> real {
    var sum = real(0.0);
    for (var k = 0u; k < n; k += 1u) {
        sum = sum + exp_of(load(x + k) - most);
    }
    return sum;
}

/// Element `v` of a softmax, rounded.
fn soft(v: real, n: u32, most: real, sum: real) -> u32 {
    if (sum == real(0.0)) {
        return narrow(real(1.0) / real(n));
    }
    return narrow(exp_of(v - most) / sum);
}

fn softmax_row(x: u32, n: u32) {
    let most = max_of(x, n);
    let sum = sum_of_exps(x, n, most);
    for (var k = 0u; k < n; k += 1u) {
        set_bits(x + k, soft(load(x + k), n, most, sum));
    }
}
