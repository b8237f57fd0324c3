// Weights from packed codes, in f32, on devices without f64.


/// A double as the nearest single below it in magnitude; beyond the range, the largest.
fn halved(low: u32, high: u32) -> f32 {
    let e = i32((high >> 20u) & 0x7ffu) - 1023 + 127;
    let sign = high & 0x80000000u;
    if (e <= 0) {
        return widen(sign);
    }
    if (e >= 255) {
        return widen(sign | 0x7f7fffffu);
    }
    return widen(sign | (u32(e) << 23u) | ((high & 0xfffffu) << 3u) | (low >> 29u));
}

/// A number of 64 bits that starts at a zero point.
fn far(low: u32, high: u32, zero_low: u32, zero_high: u32, signed: bool) -> f32 {
    let l = low - zero_low;
    let h = high - zero_high - select(0u, 1u, low < zero_low);
    let negative = select(high < zero_high || (high == zero_high && low < zero_low), (high >> 31u) == 1u, signed);
    if (negative) {
        let nl = ~l + 1u;
        let nh = ~h + select(0u, 1u, nl == 0u);
        return -(f32(nh) * 4294967296.0 + f32(nl));
    }
    return f32(h) * 4294967296.0 + f32(l);
}

fn weight(s: Store, i: u32) -> f32 {
    switch RULE {
        case TABLE: {
            return widen(bits(s.table + code(s, i)));
        }
        case NARROW: {
            return f32(number(s, code(s, i)));
        }
        case HALF: {
            return unpack2x16float(code(s, i)).x;
        }
        case BFLOAT: {
            return widen(code(s, i) << 16u);
        }
        case SINGLE: {
            return widen(code_word(s, i));
        }
        case DOUBLE: {
            return halved(code_word(s, 2u * i), code_word(s, 2u * i + 1u));
        }
        case SHORT: {
            return f32(number(s, code(s, i))) * s.scale;
        }
        case LONG, LONG_FULL: {
            let c = code_word(s, i);
            let high = select(0u, 0xffffffffu, s.signed && (c >> 31u) == 1u);
            return far(c, high, s.zero, s.zero_high, s.signed) * s.scale;
        }
        default: {
            let low = code_word(s, 2u * i);
            let high = code_word(s, 2u * i + 1u);
            return far(low, high, s.zero, s.zero_high, s.signed) * s.scale;
        }
    }
}

/// Weights `i` to `i + 3`.
fn weight4(s: Store, i: u32) -> vec4<f32> {
    return vec4<f32>(weight(s, i), weight(s, i + 1u), weight(s, i + 2u), weight(s, i + 3u));
}

struct Sum {
    s: f32,
    lost: f32,
}

fn no_sum() -> Sum {
    return Sum(0.0, 0.0);
}

/// Every sum carries what rounding has lost so far.
fn plus(sum: Sum, x: f32, w: f32) -> Sum {
    let t = x * w;
    let s = sum.s + t;
    let z = s - sum.s;
    return Sum(s, sum.lost + ((sum.s - (s - z)) + (t - z)));
}

/// Four sums at once.
struct Sum4 {
    s: vec4<f32>,
    lost: vec4<f32>,
}

fn no_sum4() -> Sum4 {
    return Sum4(vec4<f32>(), vec4<f32>());
}

fn plus_each(sum: Sum4, x: f32, w: vec4<f32>) -> Sum4 {
    let t = x * w;
    let s = sum.s + t;
    let z = s - sum.s;
    return Sum4(s, sum.lost + ((sum.s - (s - z)) + (t - z)));
}

fn total(sum: Sum, s: Store) -> f32 {
    let exact = sum.s + sum.lost;
    let v = select(exact, sum.s, is_nan(exact));
    if (RULE == NARROW) {
        return v * s.scale;
    }
    return v;
}
