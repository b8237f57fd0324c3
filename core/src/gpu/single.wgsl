// Arithmetic in f32, for devices without f64: judged by a band, never called EXACT by design.

alias real = f32;
alias real4 = vec4<f32>;

fn widen(b: u32) -> f32 {
    return bitcast<f32>(b);
}

fn widen4(b: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(b);
}

fn is_nan(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}

fn narrow(v: f32) -> u32 {
    return bitcast<u32>(v);
}

/// A `real` lies in the first of its two words.
fn joined(low: u32, high: u32) -> f32 {
    return bitcast<f32>(low);
}

fn set_wide(at: u32, value: f32) {
    set_bits(at, bitcast<u32>(value));
    set_bits(at + 1u, 0u);
}

fn sign_of(v: f32) -> bool {
    return (bitcast<u32>(v) >> 31u) == 1u;
}
