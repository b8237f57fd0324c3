// Arithmetic in f64. Elements are never touched as f32, whose subnormals some devices flush: bits
// become f64 and f64 becomes bits, rounded to nearest even once.

alias real = f64;
alias real4 = vec4<f64>;

/// 2^-149, the unit of f32 subnormals, its reciprocal, and the smallest normal f32.
const UNIT: f64 = 1.401298464324817e-45lf;
const PER_UNIT: f64 = 7.1362384635298e44lf;
const SMALLEST: f64 = 1.1754943508222875e-38lf;

fn widen(b: u32) -> f64 {
    let m = f64(b & 0x7fffffu) * UNIT;
    return select(f64(bitcast<f32>(b)), select(m, -m, (b >> 31u) == 1u), ((b >> 23u) & 0xffu) == 0u);
}

fn widen4(b: vec4<u32>) -> vec4<f64> {
    return vec4<f64>(widen(b.x), widen(b.y), widen(b.z), widen(b.w));
}

fn is_nan(v: f64) -> bool {
    return (bitcast<u64>(v) & 0x7ffffffffffffffflu) > 0x7ff0000000000000lu;
}

fn narrow(v: f64) -> u32 {
    if (is_nan(v)) {
        return 0x7fc00000u;
    }
    let magnitude = abs(v);
    if (magnitude < SMALLEST) {
        let t = magnitude * PER_UNIT;
        let f = floor(t);
        let d = t - f;
        var q = u32(f);
        if (d > 0.5lf || (d == 0.5lf && (q & 1u) == 1u)) {
            q += 1u;
        }
        return (u32(bitcast<u64>(v) >> 32u) & 0x80000000u) | q;
    }
    return bitcast<u32>(f32(v));
}

fn joined(low: u32, high: u32) -> f64 {
    return bitcast<f64>(u64(low) | (u64(high) << 32u));
}

fn set_wide(at: u32, value: f64) {
    let b = bitcast<u64>(value);
    set_bits(at, u32(b & 0xfffffffflu));
    set_bits(at + 1u, u32(b >> 32u));
}

fn sign_of(v: f64) -> bool {
    return (bitcast<u64>(v) >> 63u) == 1lu;
}
