// Weights from packed codes, in f64: the twin of each codec's `decode`.


/// The exact product of a magnitude of 64 bits and the scale, rounded once.
fn product(magnitude: u64, negative: bool, scale: u32) -> f64 {
    let biased = (scale >> 23u) & 0xffu;
    let m = u64(select((scale & 0x7fffffu) | 0x800000u, scale & 0x7fffffu, biased == 0u));
    let e = select(i32(biased) - 150, -149, biased == 0u);
    let low = (magnitude & 0xfffffffflu) * m;
    let high = (magnitude >> 32u) * m + (low >> 32u);
    let rest = u32(low & 0xfffffffflu);
    let top = u32(high >> 32u);
    var v = 0.0lf;
    if (top == 0u) {
        v = f64((high << 32u) | u64(rest));
    } else {
        let zeros = countLeadingZeros(top);
        let kept = (high << zeros) | u64(rest >> (32u - zeros));
        let lost = select(0lu, 1lu, (rest << zeros) != 0u);
        v = f64(kept | lost) * two_to(32 - i32(zeros));
    }
    v = v * two_to(e);
    return select(v, -v, negative != ((scale >> 31u) == 1u));
}

/// Weight `i` of the store at argument `s`.
fn weight(s: Store, i: u32) -> f64 {
    switch RULE {
        case TABLE: {
            return widen(bits(s.table + code(s, i)));
        }
        case NARROW: {
            return f64(number(s, code(s, i)));
        }
        case HALF: {
            return f64(unpack2x16float(code(s, i)).x);
        }
        case BFLOAT: {
            return widen(code(s, i) << 16u);
        }
        case SINGLE: {
            return widen(code_word(s, i));
        }
        case DOUBLE: {
            return joined(code_word(s, 2u * i), code_word(s, 2u * i + 1u));
        }
        case SHORT: {
            return widen(narrow(f64(number(s, code(s, i))) * s.scale));
        }
        case LONG: {
            let c = code_word(s, i);
            // The original rounds the number to f32 first.
            let n = select(f64(f32(c)), f64(f32(bitcast<i32>(c))), s.signed);
            return widen(narrow(n * s.scale));
        }
        case LONG_FULL: {
            let c = code_word(s, i);
            let n = select(f64(c), f64(bitcast<i32>(c)), s.signed) - f64(s.zero);
            return n * s.scale;
        }
        case LONGER: {
            let c = u64(code_word(s, 2u * i)) | (u64(code_word(s, 2u * i + 1u)) << 32u);
            let n = select(f64(f32(c)), f64(f32(bitcast<i64>(c))), s.signed);
            return widen(narrow(n * s.scale));
        }
        default: {
            let c = u64(code_word(s, 2u * i)) | (u64(code_word(s, 2u * i + 1u)) << 32u);
            if (s.signed) {
                let negative = (c >> 63u) == 1lu;
                return product(select(c, (~c) + 1lu, negative), negative, s.scale_bits);
            }
            let zero = u64(s.zero) | (u64(s.zero_high) << 32u);
            let negative = c < zero;
            return product(select(c - zero, zero - c, negative), negative, s.scale_bits);
        }
    }
}

/// Weights `i` to `i + 3`; four divides `i`.
fn weight4(s: Store, i: u32) -> vec4<f64> {
    switch RULE {
        case TABLE: {
            let c = code4(s, i);
            let t = s.table;
            return widen4(vec4<u32>(bits(t + c.x), bits(t + c.y), bits(t + c.z), bits(t + c.w)));
        }
        case NARROW: {
            let c = code4(s, i);
            return vec4<f64>(f64(number(s, c.x)), f64(number(s, c.y)), f64(number(s, c.z)), f64(number(s, c.w)));
        }
        case HALF: {
            let c = code4(s, i);
            let low = unpack2x16float(c.x | (c.y << 16u));
            let high = unpack2x16float(c.z | (c.w << 16u));
            return vec4<f64>(f64(low.x), f64(low.y), f64(high.x), f64(high.y));
        }
        case BFLOAT: {
            return widen4(code4(s, i) << vec4<u32>(16u));
        }
        case SINGLE: {
            return widen4(code_words(s, i));
        }
        case DOUBLE: {
            let a = code_words(s, 2u * i);
            let b = code_words(s, 2u * i + 4u);
            return vec4<f64>(joined(a.x, a.y), joined(a.z, a.w), joined(b.x, b.y), joined(b.z, b.w));
        }
        default: {
            return vec4<f64>(weight(s, i), weight(s, i + 1u), weight(s, i + 2u), weight(s, i + 3u));
        }
    }
}

/// A running sum: for whole numbers of at most eight bits (NARROW) with what rounding has lost so
/// far (Knuth's TwoSum; Ogita, Rump and Oishi, 2005), which makes it the exact sum, rounded once.
struct Sum {
    s: f64,
    lost: f64,
}

fn no_sum() -> Sum {
    return Sum(0.0lf, 0.0lf);
}

fn plus(sum: Sum, x: f64, w: f64) -> Sum {
    let t = x * w;
    let s = sum.s + t;
    if (RULE == NARROW) {
        let z = s - sum.s;
        return Sum(s, sum.lost + ((sum.s - (s - z)) + (t - z)));
    }
    return Sum(s, sum.lost);
}

/// Four sums at once.
struct Sum4 {
    s: vec4<f64>,
    lost: vec4<f64>,
}

fn no_sum4() -> Sum4 {
    return Sum4(vec4<f64>(), vec4<f64>());
}

fn plus_each(sum: Sum4, x: f64, w: vec4<f64>) -> Sum4 {
    let t = x * w;
    let s = sum.s + t;
    if (RULE == NARROW) {
        let z = s - sum.s;
        return Sum4(s, sum.lost + ((sum.s - (s - z)) + (t - z)));
    }
    return Sum4(s, sum.lost);
}

fn total(sum: Sum, s: Store) -> f64 {
    if (RULE == NARROW) {
        let exact = sum.s + sum.lost;
        return select(exact, sum.s, is_nan(exact)) * s.scale;
    }
    return sum.s;
}
