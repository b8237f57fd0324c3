// Weights from packed codes, in f32, on devices without f64; the arguments are those of double.wgsl.

override RULE: u32 = 0u;

const TABLE: u32 = 0u;
const NARROW: u32 = 1u;
const HALF: u32 = 2u;
const BFLOAT: u32 = 3u;
const SINGLE: u32 = 4u;
const DOUBLE: u32 = 5u;
const SHORT: u32 = 6u;
const LONG: u32 = 7u;
const LONG_FULL: u32 = 8u;
const LONGER: u32 = 9u;
const LONGER_FULL: u32 = 10u;

fn code_word(s: u32, i: u32) -> u32 {
    return codes[code_base + arg(s) + i];
}

fn code(s: u32, i: u32) -> u32 {
    let packing = arg(s + 1u);
    let width = packing & 0xffu;
    let log_per_word = (packing >> 8u) & 0xffu;
    let word = code_word(s, i >> log_per_word);
    let low = (i & ((1u << log_per_word) - 1u)) * width;
    let place = select(low, (low & 24u) + 8u - width - (low & 7u), width < 8u);
    return extractBits(word, place, width);
}

fn is_signed(s: u32) -> bool {
    return (arg(s + 1u) >> 16u) == 1u;
}

fn scale_of(s: u32) -> f32 {
    return widen(arg(s + 2u));
}

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

fn weight(s: u32, i: u32) -> f32 {
    switch RULE {
        case TABLE, NARROW: {
            return widen(bits(arg(s + 5u) + code(s, i)));
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
            let c = code(s, i);
            return f32(select(i32(c), i32(c << 16u) >> 16u, is_signed(s)) - i32(arg(s + 3u))) * scale_of(s);
        }
        case LONG, LONG_FULL: {
            let c = code_word(s, i);
            let high = select(0u, 0xffffffffu, is_signed(s) && (c >> 31u) == 1u);
            return far(c, high, arg(s + 3u), arg(s + 4u), is_signed(s)) * scale_of(s);
        }
        default: {
            let low = code_word(s, 2u * i);
            let high = code_word(s, 2u * i + 1u);
            return far(low, high, arg(s + 3u), arg(s + 4u), is_signed(s)) * scale_of(s);
        }
    }
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

fn total(sum: Sum, s: u32) -> f32 {
    let exact = sum.s + sum.lost;
    let v = select(exact, sum.s, is_nan(exact));
    if (RULE == NARROW) {
        return v * scale_of(s);
    }
    return v;
}
