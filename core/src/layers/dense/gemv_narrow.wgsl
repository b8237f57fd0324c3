// One row of x with many outputs whose weights are whole numbers of at most eight bits: the twin of
// backend/exact.rs. `digits` writes x as whole numbers over a power of two and cuts them into
// digits of base 256; `gemv_narrow` sums products of digits and codes in integers, in any order, and
// rounds once. A row whose numbers lie too far apart is summed element by element.

/// Digits of a number; the bits that they reach; words of the header that stands before them: whether
/// the row is cut, and the exponent of its unit.
const DIGITS: u32 = 7u;
const REACH: i32 = 54;
const HEADER: u32 = 4u;

/// Exponents of the lowest and above the highest bit of f32 bits that are not 0, in units of 2^-149.
fn span(b: u32) -> vec2<i32> {
    let biased = (b >> 23u) & 0xffu;
    let m = select((b & 0x7fffffu) | 0x800000u, b & 0x7fffffu, biased == 0u);
    let e = select(i32(biased) - 1, 0, biased == 0u);
    return vec2<i32>(e + i32(firstTrailingBit(m)), e + 32 - i32(countLeadingZeros(m)));
}

var<workgroup> lowest: atomic<i32>;
var<workgroup> highest: atomic<i32>;
var<workgroup> odd: atomic<u32>;

/// A number in units of 2^(low - 149), with 128 added to each digit: then digits are the bytes of a
/// two's complement number.
fn moved(b: u32, low: i32) -> u64 {
    let biased = (b >> 23u) & 0xffu;
    let m = select((b & 0x7fffffu) | 0x800000u, b & 0x7fffffu, biased == 0u);
    let e = select(i32(biased) - 1, 0, biased == 0u);
    var whole = 0li;
    if (m != 0u) {
        whole = select(i64(m) << u32(max(e - low, 0)), i64(m >> u32(max(low - e, 0))), e < low);
    }
    return bitcast<u64>(select(whole, -whole, (b >> 31u) == 1u) + 0x0080808080808080li);
}

/// Arguments: x, where the digits go, elements, bits of a code. Every workgroup looks at the whole
/// row, and cuts 1024 elements of it.
@compute @workgroup_size(256)
fn digits(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let unused = begin(group, groups, 0u);
    let x = arg(0u);
    let out = arg(1u);
    let n = arg(2u);
    if (local == 0u) {
        atomicStore(&lowest, 1000);
        atomicStore(&highest, -1000);
        atomicStore(&odd, 0u);
    }
    workgroupBarrier();
    var low = 1000;
    var high = -1000;
    for (var k = 4u * local; k < n; k += 1024u) {
        let four = arena[(base + x + k) >> 2u];
        for (var j = 0u; j < 4u; j += 1u) {
            let b = four[j];
            if (((b >> 23u) & 0xffu) == 0xffu) {
                atomicStore(&odd, 1u);
            } else if ((b << 1u) != 0u) {
                let ends = span(b);
                low = min(low, ends.x);
                high = max(high, ends.y);
            }
        }
    }
    atomicMin(&lowest, low);
    atomicMax(&highest, high);
    workgroupBarrier();
    low = atomicLoad(&lowest);
    high = atomicLoad(&highest);
    let is_cut = atomicLoad(&odd) == 0u && high - low <= REACH;
    let part = group.y * groups.x + group.x;
    if (part == 0u && local == 0u) {
        set_bits(out, select(0u, 1u, is_cut));
        set_bits(out + 1u, bitcast<u32>(select(low, 0, low > high) - 149));
    }
    let quad = part * 256u + local;
    if (!is_cut || quad >= n / 4u) {
        return;
    }
    // A word holds codes of `per_byte` steps, four at a time.
    let per_byte = 8u / arg(3u);
    let at = x + quad / per_byte * 4u * per_byte + quad % per_byte;
    let a = moved(bits(at), low);
    let b = moved(bits(at + per_byte), low);
    let c = moved(bits(at + 2u * per_byte), low);
    let d = moved(bits(at + 3u * per_byte), low);
    for (var digit = 0u; digit < 8u; digit += 1u) {
        let shift = 8u * digit;
        let four = vec4<u32>(u32((a >> shift) & 0xfflu), u32((b >> shift) & 0xfflu), u32((c >> shift) & 0xfflu), u32((d >> shift) & 0xfflu));
        let word = (four.x | (four.y << 8u) | (four.z << 16u) | (four.w << 24u)) ^ 0x80808080u;
        set_bits(out + HEADER + 8u * quad + digit, select(0u, word, digit < DIGITS));
    }
}

/// Outputs of a workgroup.
const ROWS: u32 = 8u;

var<workgroup> partial: array<i32, 4032>;

/// `high 2^32 + low` rounded once, times 2^e.
fn rounded(high: i64, low: i64, e: i32) -> f64 {
    // 128 bits, the upper half signed.
    let upper = (high >> 32u) + (low >> 63u);
    let shifted = bitcast<u64>(high) << 32u;
    var l = shifted + bitcast<u64>(low);
    var h = upper + select(0li, 1li, l < shifted);
    let negative = h < 0li;
    var u = bitcast<u64>(h);
    if (negative) {
        l = (~l) + 1lu;
        u = (~u) + select(0lu, 1lu, l == 0lu);
    }
    var v = 0.0lf;
    if (u == 0lu) {
        v = f64(l);
    } else {
        // What lies below the upper 64 bits only breaks ties.
        let top = u32(u >> 32u);
        let zeros = select(countLeadingZeros(top), 32u + countLeadingZeros(u32(u & 0xfffffffflu)), top == 0u);
        var kept = u;
        var rest = l;
        if (zeros > 0u) {
            kept = (u << zeros) | (l >> (64u - zeros));
            rest = l << zeros;
        }
        v = f64(kept | select(0lu, 1lu, rest != 0lu)) * two_to(64 - i32(zeros));
    }
    v = v * two_to(e);
    return select(v, -v, negative);
}

/// Codes of one step of a word, as four signed bytes, and what to add to each.
fn step_codes(word: u32, width: u32, step: u32, sign: u32) -> u32 {
    if (width == 8u) {
        return word ^ sign;
    }
    let mask = ((1u << width) - 1u) * 0x01010101u;
    return ((word >> (8u - width - width * step)) & mask) ^ sign;
}

/// Sums of digits with one output: digits 0 to 3, and 4 to 6.
struct Digits {
    a: vec4<i32>,
    b: vec4<i32>,
}

fn plus_codes(sums: Digits, a: vec4<u32>, b: vec4<u32>, codes_of: u32) -> Digits {
    return Digits(
        sums.a + vec4<i32>(
            dot4I8Packed(a.x, codes_of),
            dot4I8Packed(a.y, codes_of),
            dot4I8Packed(a.z, codes_of),
            dot4I8Packed(a.w, codes_of),
        ),
        sums.b + vec4<i32>(
            dot4I8Packed(b.x, codes_of),
            dot4I8Packed(b.y, codes_of),
            dot4I8Packed(b.z, codes_of),
            0,
        ),
    );
}

/// A word of each of eight outputs at one step.
struct Words {
    a: vec4<u32>,
    b: vec4<u32>,
}

fn words_at(s: Store, at: vec4<u32>, more: vec4<u32>, word: u32) -> Words {
    return Words(
        vec4<u32>(code_word(s, at.x + word), code_word(s, at.y + word), code_word(s, at.z + word), code_word(s, at.w + word)),
        vec4<u32>(code_word(s, more.x + word), code_word(s, more.y + word), code_word(s, more.z + word), code_word(s, more.w + word)),
    );
}

/// Sums of eight outputs, and of the digits themselves.
struct Nine {
    a: Digits,
    b: Digits,
    c: Digits,
    d: Digits,
    e: Digits,
    f: Digits,
    g: Digits,
    h: Digits,
    ones: Digits,
}

fn plus_step(sums: Nine, w: Words, a: vec4<u32>, b: vec4<u32>, width: u32, step: u32, sign: u32) -> Nine {
    return Nine(
        plus_codes(sums.a, a, b, step_codes(w.a.x, width, step, sign)),
        plus_codes(sums.b, a, b, step_codes(w.a.y, width, step, sign)),
        plus_codes(sums.c, a, b, step_codes(w.a.z, width, step, sign)),
        plus_codes(sums.d, a, b, step_codes(w.a.w, width, step, sign)),
        plus_codes(sums.e, a, b, step_codes(w.b.x, width, step, sign)),
        plus_codes(sums.f, a, b, step_codes(w.b.y, width, step, sign)),
        plus_codes(sums.g, a, b, step_codes(w.b.z, width, step, sign)),
        plus_codes(sums.h, a, b, step_codes(w.b.w, width, step, sign)),
        plus_codes(sums.ones, a, b, 0x01010101u),
    );
}

fn share(row: u32, local: u32, sums: Digits) {
    let at = row * DIGITS * 64u + local;
    partial[at] = sums.a.x;
    partial[at + 64u] = sums.a.y;
    partial[at + 128u] = sums.a.z;
    partial[at + 192u] = sums.a.w;
    partial[at + 256u] = sums.b.x;
    partial[at + 320u] = sums.b.y;
    partial[at + 384u] = sums.b.z;
}

@compute @workgroup_size(64)
fn gemv_narrow(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let unused = begin(group, groups, 0u);
    let first = (group.y * groups.x + group.x) * ROWS;
    let outs = arg(1u);
    let depth = arg(2u);
    if (first >= outs) {
        return;
    }
    let s = store_at(10u);
    let width = s.width;
    let per_byte = 8u / width;
    let digits_at = arg(9u) + HEADER;
    let is_cut = bits(arg(9u)) == 1u;
    // Signed codes count from the smallest number, eight-bit ones are signed bytes.
    let smallest = select(0u, 1u << (width - 1u), s.signed != (width == 8u)) * 0x01010101u;
    let row_words = depth >> s.log_per_word;
    let four = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u);
    let rows = min(four, vec4<u32>(outs - 1u)) * row_words;
    let more = min(four + 4u, vec4<u32>(outs - 1u)) * row_words;
    let none = Digits(vec4<i32>(), vec4<i32>());
    var sums = Nine(none, none, none, none, none, none, none, none, none);
    let log_steps = countTrailingZeros(per_byte);
    let quads = depth / 4u;
    // Two at a time, so that their loads are under way together.
    for (var quad = local; is_cut && quad < quads; quad += 128u) {
        let next = min(quad + 64u, quads - 1u);
        let w = words_at(s, rows, more, quad >> log_steps);
        let v = words_at(s, rows, more, next >> log_steps);
        let a = arena[(base + digits_at + 8u * quad) >> 2u];
        let b = arena[(base + digits_at + 8u * quad + 4u) >> 2u];
        var c = arena[(base + digits_at + 8u * next) >> 2u];
        var d = arena[(base + digits_at + 8u * next + 4u) >> 2u];
        if (quad + 64u >= quads) {
            c = vec4<u32>();
            d = vec4<u32>();
        }
        sums = plus_step(sums, w, a, b, width, quad & (per_byte - 1u), smallest);
        sums = plus_step(sums, v, c, d, width, next & (per_byte - 1u), smallest);
    }
    share(0u, local, sums.a);
    share(1u, local, sums.b);
    share(2u, local, sums.c);
    share(3u, local, sums.d);
    share(4u, local, sums.e);
    share(5u, local, sums.f);
    share(6u, local, sums.g);
    share(7u, local, sums.h);
    share(8u, local, sums.ones);
    workgroupBarrier();
    // One invocation adds up each digit of each output, one more joins the digits.
    if (local < (ROWS + 1u) * DIGITS) {
        var all = 0;
        for (var i = 0u; i < 64u; i += 1u) {
            // Each starts elsewhere, so that they do not meet in one bank.
            all += partial[local * 64u + ((i + local) & 63u)];
        }
        partial[local * 64u] = all;
    }
    workgroupBarrier();
    let o = first + local;
    if (local >= ROWS || o >= outs) {
        return;
    }
    var v = 0.0lf;
    if (is_cut) {
        // number = factor code + offset, of the codes as they were multiplied.
        var factor = 1li;
        var offset = -i64(s.zero);
        if (s.signed) {
            offset = select(-i64(1u << (width - 1u)), 0li, width == 8u);
        } else if (width == 1u) {
            factor = 2li;
            offset = -1li;
        } else if (width == 8u) {
            offset = 128li - i64(s.zero);
        }
        var low = 0li;
        var high = 0li;
        for (var d = 0u; d < DIGITS; d += 1u) {
            let sum = factor * i64(partial[(local * DIGITS + d) * 64u]) + offset * i64(partial[(ROWS * DIGITS + d) * 64u]);
            if (d < 4u) {
                low += sum << (8u * d);
            } else {
                high += sum << (8u * (d - 4u));
            }
        }
        v = rounded(high, low, bitcast<i32>(bits(arg(9u) + 1u)));
    } else {
        var sum = no_sum();
        for (var k = 0u; k < depth; k += 1u) {
            sum = plus(sum, load(arg(3u) + k), weight(s, o * depth + k));
        }
        let exact = sum.s + sum.lost;
        v = select(exact, sum.s, is_nan(exact));
    }
    v = v * s.scale;
    let at = arg(8u) + o;
    if (arg(6u) == 0xffu) {
        set_wide(arg(4u) + 2u * at, v);
    } else {
        set_bits(arg(4u) + at, activate(arg(6u), narrow(v + shift(arg(5u), o))));
    }
}
