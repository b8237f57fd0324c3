// Weights from packed codes, in f64: the twin of each codec's `decode`. A store takes six
// arguments from `s` on: first word, bits of a code with their logarithm per word and the sign,
// scale, zero point (two words), table. RULE is fixed when the pipeline is made: kernel.rs.

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

/// Code `i` of a type of at most 32 bits. Below eight bits the first code of a byte is its highest.
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

fn scale_of(s: u32) -> f64 {
    return widen(arg(s + 2u));
}

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
fn weight(s: u32, i: u32) -> f64 {
    switch RULE {
        case TABLE, NARROW: {
            return widen(bits(arg(s + 5u) + code(s, i)));
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
            let c = code(s, i);
            let n = select(i32(c), i32(c << 16u) >> 16u, is_signed(s)) - i32(arg(s + 3u));
            return widen(narrow(f64(n) * scale_of(s)));
        }
        case LONG: {
            let c = code_word(s, i);
            // The original rounds the number to f32 first.
            let n = select(f64(f32(c)), f64(f32(bitcast<i32>(c))), is_signed(s));
            return widen(narrow(n * scale_of(s)));
        }
        case LONG_FULL: {
            let c = code_word(s, i);
            let n = select(f64(c), f64(bitcast<i32>(c)), is_signed(s)) - f64(arg(s + 3u));
            return n * scale_of(s);
        }
        case LONGER: {
            let c = u64(code_word(s, 2u * i)) | (u64(code_word(s, 2u * i + 1u)) << 32u);
            let n = select(f64(f32(c)), f64(f32(bitcast<i64>(c))), is_signed(s));
            return widen(narrow(n * scale_of(s)));
        }
        default: {
            let c = u64(code_word(s, 2u * i)) | (u64(code_word(s, 2u * i + 1u)) << 32u);
            if (is_signed(s)) {
                let negative = (c >> 63u) == 1lu;
                return product(select(c, (~c) + 1lu, negative), negative, arg(s + 2u));
            }
            let zero = u64(arg(s + 3u)) | (u64(arg(s + 4u)) << 32u);
            let negative = c < zero;
            return product(select(c - zero, zero - c, negative), negative, arg(s + 2u));
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

fn total(sum: Sum, s: u32) -> f64 {
    if (RULE == NARROW) {
        let exact = sum.s + sum.lost;
        return select(exact, sum.s, is_nan(exact)) * scale_of(s);
    }
    return sum.s;
}
