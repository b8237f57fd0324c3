// Packed codes as integers. A store takes six arguments from `s` on: first word, bits of a code with
// their logarithm per word and the sign, scale, zero point (two words), table. RULE is fixed when the
// pipeline is made: kernel.rs.

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
    let word = code_base + arg(s) + i;
    return codes[word >> 2u][word & 3u];
}

/// Four words from one on that four divides.
fn code_words(s: u32, i: u32) -> vec4<u32> {
    return codes[(code_base + arg(s) + i) >> 2u];
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

/// Codes `i` to `i + 3` of a type of at most 16 bits; four divides `i`.
fn code4(s: u32, i: u32) -> vec4<u32> {
    let packing = arg(s + 1u);
    let width = packing & 0xffu;
    if (width == 16u) {
        let a = code_word(s, i >> 1u);
        let b = code_word(s, (i >> 1u) + 1u);
        return vec4<u32>(a & 0xffffu, a >> 16u, b & 0xffffu, b >> 16u);
    }
    let log_per_word = (packing >> 8u) & 0xffu;
    let word = code_word(s, i >> log_per_word);
    let low = (i & ((1u << log_per_word) - 1u)) * width;
    if (width == 8u) {
        return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
    }
    let lows = vec4<u32>(low, low + width, low + 2u * width, low + 3u * width);
    let places = (lows & vec4<u32>(24u)) + vec4<u32>(8u - width) - (lows & vec4<u32>(7u));
    return (vec4<u32>(word) >> places) & vec4<u32>((1u << width) - 1u);
}

/// The whole number of a code of at most 16 bits, less the zero point; binary codes are -1 and 1.
fn number(s: u32, c: u32) -> i32 {
    let width = arg(s + 1u) & 0xffu;
    if (is_signed(s)) {
        return i32(c << (32u - width)) >> (32u - width);
    }
    return select(i32(c) - i32(arg(s + 3u)), 2 * i32(c) - 1, width == 1u);
}
