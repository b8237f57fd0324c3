// Packed codes as integers. RULE is fixed when the pipeline is made: kernel.rs.

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

/// How codes are packed and what they mean.
struct Store {
    /// First word.
    first: u32,
    /// Bits of a code.
    width: u32,
    /// Logarithm of the codes in a word.
    log_per_word: u32,
    signed: bool,
    /// The scale's bits, and the scale.
    scale_bits: u32,
    scale: real,
    /// The zero point.
    zero: u32,
    zero_high: u32,
    /// Where the table of values starts.
    table: u32,
}

/// The store of six arguments from `i` on: once for each invocation, since an argument is a load.
fn store_at(i: u32) -> Store {
    let packing = arg(i + 1u);
    let scale = arg(i + 2u);
    return Store(
        code_base + arg(i),
        packing & 0xffu,
        (packing >> 8u) & 0xffu,
        (packing >> 16u) == 1u,
        scale,
        widen(scale),
        arg(i + 3u),
        arg(i + 4u),
        arg(i + 5u),
    );
}

fn code_word(s: Store, i: u32) -> u32 {
    let word = s.first + i;
    return codes[word >> 2u][word & 3u];
}

/// Four words from one on that four divides.
fn code_words(s: Store, i: u32) -> vec4<u32> {
    return codes[(s.first + i) >> 2u];
}

/// Code `i` of a type of at most 32 bits. Below eight bits the first code of a byte is its highest.
fn code(s: Store, i: u32) -> u32 {
    let word = code_word(s, i >> s.log_per_word);
    let low = (i & ((1u << s.log_per_word) - 1u)) * s.width;
    let place = select(low, (low & 24u) + 8u - s.width - (low & 7u), s.width < 8u);
    return extractBits(word, place, s.width);
}

/// Codes `i` to `i + 3` of a type of at most 16 bits; four divides `i`.
fn code4(s: Store, i: u32) -> vec4<u32> {
    let width = s.width;
    if (RULE == HALF || RULE == BFLOAT || RULE == SHORT) {
        let a = code_word(s, i >> 1u);
        let b = code_word(s, (i >> 1u) + 1u);
        return vec4<u32>(a & 0xffffu, a >> 16u, b & 0xffffu, b >> 16u);
    }
    let word = code_word(s, i >> s.log_per_word);
    let low = (i & ((1u << s.log_per_word) - 1u)) * width;
    if (width == 8u) {
        return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
    }
    let lows = vec4<u32>(low, low + width, low + 2u * width, low + 3u * width);
    let places = (lows & vec4<u32>(24u)) + vec4<u32>(8u - width) - (lows & vec4<u32>(7u));
    return (vec4<u32>(word) >> places) & vec4<u32>((1u << width) - 1u);
}

/// The whole number of a code of at most 16 bits, less the zero point; binary codes are -1 and 1.
fn number(s: Store, c: u32) -> i32 {
    let unused = 32u - s.width;
    let unsigned = select(i32(c) - i32(s.zero), 2 * i32(c) - 1, s.width == 1u);
    return select(unsigned, i32(c << unused) >> unused, s.signed);
}
