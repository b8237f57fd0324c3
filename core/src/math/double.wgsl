// The twin of exp.rs, trig.rs and mod.rs: the same operations on the same constants, bit for bit
// where the device keeps products and sums apart.

const LOG2_E: f64 = 1.4426950408889634lf;
const LN2_HI: f64 = 6.931471803691238e-1lf;
const LN2_LO: f64 = 1.9082149292705877e-10lf;

fn expm1_reduced(r: f64) -> f64 {
    var p = 1.6059043836821613e-10lf;
    p = p * r + 2.08767569878681e-09lf;
    p = p * r + 2.505210838544172e-08lf;
    p = p * r + 2.755731922398589e-07lf;
    p = p * r + 2.7557319223985893e-06lf;
    p = p * r + 2.48015873015873e-05lf;
    p = p * r + 0.0001984126984126984lf;
    p = p * r + 0.001388888888888889lf;
    p = p * r + 0.008333333333333333lf;
    p = p * r + 0.041666666666666664lf;
    p = p * r + 0.16666666666666666lf;
    p = p * r + 0.5lf;
    return r + (r * r) * p;
}

fn two_to(k: i32) -> f64 {
    return bitcast<f64>(u64(u32(k + 1023)) << 52u);
}

fn infinity() -> f64 {
    return bitcast<f64>(u64(0x7ff00000u) << 32u);
}

fn exp_of(x: f64) -> f64 {
    if (is_nan(x)) {
        return x;
    }
    if (x > 709.782712893384lf) {
        return infinity();
    }
    if (x < -745.1332191019412lf) {
        return 0.0lf;
    }
    let k = floor(x * LOG2_E + 0.5lf);
    let r = (x - k * LN2_HI) - k * LN2_LO;
    let y = 1.0lf + expm1_reduced(r);
    let n = i32(k);
    let half = n / 2;
    return (y * two_to(half)) * two_to(n - half);
}

fn ln_of(x: f64) -> f64 {
    if (is_nan(x) || x < 0.0lf) {
        return bitcast<f64>(u64(0x7ff80000u) << 32u);
    }
    if (x == 0.0lf) {
        return -infinity();
    }
    if (x == infinity()) {
        return x;
    }
    var scaled = x;
    var lift = 0;
    if (x < 2.2250738585072014e-308lf) {
        scaled = x * 18014398509481984.0lf;
        lift = 54;
    }
    let b = bitcast<u64>(scaled);
    var e = i32(u32(b >> 52u)) - 1023 - lift;
    var m = bitcast<f64>((b & 0x000ffffffffffffflu) | (1023lu << 52u));
    if (m > 1.4142135623730951lf) {
        m = m * 0.5lf;
        e += 1;
    }
    let s = (m - 1.0lf) / (m + 1.0lf);
    let z = s * s;
    var p = 0.047619047619047616lf;
    p = p * z + 0.05263157894736842lf;
    p = p * z + 0.058823529411764705lf;
    p = p * z + 0.06666666666666667lf;
    p = p * z + 0.07692307692307693lf;
    p = p * z + 0.09090909090909091lf;
    p = p * z + 0.1111111111111111lf;
    p = p * z + 0.14285714285714285lf;
    p = p * z + 0.2lf;
    p = p * z + 0.3333333333333333lf;
    let whole = f64(e);
    return whole * LN2_HI + (2.0lf * s + (2.0lf * (s * z) * p + whole * LN2_LO));
}

fn pow_of(b: f64, y: f64) -> f64 {
    return exp_of(y * ln_of(b));
}

fn sigmoid_of(x: f64) -> f64 {
    return 1.0lf / (1.0lf + exp_of(-x));
}

fn tanh_of(x: f64) -> f64 {
    if (is_nan(x)) {
        return x;
    }
    let a = abs(x);
    var y = 1.0lf;
    if (a < 0.17lf) {
        let t = expm1_reduced(2.0lf * a);
        y = t / (t + 2.0lf);
    } else if (a < 22.0lf) {
        y = 1.0lf - 2.0lf / (exp_of(2.0lf * a) + 1.0lf);
    }
    return select(y, -y, sign_of(x));
}

fn gelu_of(v: f64) -> f64 {
    return 0.5lf * v * (1.0lf + tanh_of(0.7978845608028654lf * (v + 0.044715lf * (v * v * v))));
}

/// Sine and cosine, of which `which` says the one: 0 or 1.
fn sin_cos_of(x: f64, which: u32) -> f64 {
    let n = floor(x * 0.6366197723675814lf + 0.5lf);
    let r = ((x - n * 1.5707963267341256lf) - n * 6.077100506303966e-11lf) - n * 2.0222662487959508e-21lf;
    let z = r * r;
    var s = 1.0lf;
    var c = 1.0lf;
    for (var i = 9; i >= 1; i -= 1) {
        let k = f64(2 * i);
        s = 1.0lf - z * s / (k * (k + 1.0lf));
        c = 1.0lf - z * c / ((k - 1.0lf) * k);
    }
    s = r * s;
    let quarter = u32(i32(n)) & 3u;
    if (which == 0u) {
        let v = select(s, c, (quarter & 1u) == 1u);
        return select(v, -v, quarter >= 2u);
    }
    let v = select(c, s, (quarter & 1u) == 1u);
    return select(v, -v, quarter == 1u || quarter == 2u);
}
const LEAK: f64 = 0.01lf;
