// The same functions in f32, for devices without f64; within a few units in the last place.

fn expm1_reduced(r: f32) -> f32 {
    var p = 1.9841270e-4;
    p = p * r + 1.3888889e-3;
    p = p * r + 8.3333333e-3;
    p = p * r + 4.1666667e-2;
    p = p * r + 1.6666667e-1;
    p = p * r + 0.5;
    return r + (r * r) * p;
}

fn two_to(k: i32) -> f32 {
    return bitcast<f32>(u32(k + 127) << 23u);
}

fn infinity() -> f32 {
    return bitcast<f32>(0x7f800000u + (record & 0u));
}

fn exp_of(x: f32) -> f32 {
    if (is_nan(x)) {
        return x;
    }
    if (x > 88.72284) {
        return infinity();
    }
    if (x < -103.97208) {
        return 0.0;
    }
    let k = floor(x * 1.44269504 + 0.5);
    let r = (x - k * 0.693359375) + k * 2.12194440e-4;
    let y = 1.0 + expm1_reduced(r);
    let n = i32(k);
    let half = n / 2;
    return (y * two_to(half)) * two_to(n - half);
}

fn sigmoid_of(x: f32) -> f32 {
    return 1.0 / (1.0 + exp_of(-x));
}

fn tanh_of(x: f32) -> f32 {
    if (is_nan(x)) {
        return x;
    }
    let a = abs(x);
    var y = 1.0;
    if (a < 0.17) {
        let t = expm1_reduced(2.0 * a);
        y = t / (t + 2.0);
    } else if (a < 11.0) {
        y = 1.0 - 2.0 / (exp_of(2.0 * a) + 1.0);
    }
    return select(y, -y, sign_of(x));
}

fn gelu_of(v: f32) -> f32 {
    return 0.5 * v * (1.0 + tanh_of(0.79788456 * (v + 0.044715 * (v * v * v))));
}
fn ln_of(x: f32) -> f32 {
    return log(x);
}

fn pow_of(b: f32, y: f32) -> f32 {
    return exp_of(y * ln_of(b));
}
const LEAK: f32 = 0.01;
