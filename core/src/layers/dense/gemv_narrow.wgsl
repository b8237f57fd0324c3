// One row of x with many outputs whose weights are whole numbers of at most eight bits: the twin of
// backend/exact.rs. Every workgroup writes x as whole numbers over a power of two and cuts them into
// digits of base 256; products of digits and codes are summed in integers, in any order, and rounded
// once. A row whose numbers lie too far apart is summed element by element. Arguments: those of gpu.wgsl.

/// Outputs and invocations of a workgroup, and of each of its teams.
const OUTS: u32 = 32u;
const ALL: u32 = 256u;
const ROWS: u32 = 8u;
const TEAM: u32 = 64u;
/// Elements that are cut at a time, and their quads.
const PANEL: u32 = 2048u;
const QUADS: u32 = 512u;
/// Digits of a number; the bits that they reach.
const DIGITS: u32 = 7u;
const REACH: i32 = 54;

/// Exponents of the lowest and above the highest bit of f32 bits that are not 0, in units of 2^-149.
fn span(b: u32) -> vec2<i32> {
    let biased = (b >> 23u) & 0xffu;
    let m = select((b & 0x7fffffu) | 0x800000u, b & 0x7fffffu, biased == 0u);
    let e = select(i32(biased) - 1, 0, biased == 0u);
    return vec2<i32>(e + i32(firstTrailingBit(m)), e + 32 - i32(countLeadingZeros(m)));
}

/// What no number spans.
const NOTHING: vec2<i32> = vec2<i32>(1000, -1000);

var<workgroup> lowest: atomic<i32>;
var<workgroup> highest: atomic<i32>;
var<workgroup> odd: atomic<u32>;
/// Digits 0 to 3 of the quads of a panel, then digits 4 to 6.
var<workgroup> pieces: array<vec4<u32>, 1024>;
/// Sums of one output of each team, by digit and invocation; and sums by team, output and digit.
var<workgroup> partial: array<i32, 1792>;
var<workgroup> digit_sums: array<atomic<i32>, 252>;

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

/// The exponents that the elements of x span; none where one is not finite.
fn spanned(x: u32, n: u32, local: u32) -> vec2<i32> {
    if (local == 0u) {
        atomicStore(&lowest, NOTHING.x);
        atomicStore(&highest, NOTHING.y);
        atomicStore(&odd, 0u);
    }
    workgroupBarrier();
    var ends = NOTHING;
    for (var k = 4u * local; k < n; k += 4u * ALL) {
        let four = arena[(base + x + k) >> 2u];
        for (var j = 0u; j < 4u; j += 1u) {
            let b = four[j];
            if (((b >> 23u) & 0xffu) == 0xffu) {
                atomicStore(&odd, 1u);
            } else if ((b << 1u) != 0u) {
                let own = span(b);
                ends = vec2<i32>(min(ends.x, own.x), max(ends.y, own.y));
            }
        }
    }
    atomicMin(&lowest, ends.x);
    atomicMax(&highest, ends.y);
    workgroupBarrier();
    return vec2<i32>(atomicLoad(&lowest), atomicLoad(&highest));
}

/// Cuts the elements of a panel. A word holds codes of `per_byte` steps, four at a time; quads lie
/// step by step, so that neighbours read neighbours.
fn cut(x: u32, n: u32, low: i32, per_byte: u32, local: u32) {
    for (var quad = local; quad < QUADS; quad += ALL) {
        let k = quad % (QUADS / per_byte) * 4u * per_byte + quad / (QUADS / per_byte);
        var four = array<u64, 4>();
        if (k < n) {
            four = array<u64, 4>(
                moved(bits(x + k), low),
                moved(bits(x + k + per_byte), low),
                moved(bits(x + k + 2u * per_byte), low),
                moved(bits(x + k + 3u * per_byte), low),
            );
        }
        let low = vec4<u32>(u32(four[0] & 0xfffffffflu), u32(four[1] & 0xfffffffflu), u32(four[2] & 0xfffffffflu), u32(four[3] & 0xfffffffflu));
        let high = vec4<u32>(u32(four[0] >> 32u), u32(four[1] >> 32u), u32(four[2] >> 32u), u32(four[3] >> 32u));
        pieces[quad] = vec4<u32>(bytes_at(low, 0u), bytes_at(low, 8u), bytes_at(low, 16u), bytes_at(low, 24u));
        pieces[QUADS + quad] = vec4<u32>(bytes_at(high, 0u), bytes_at(high, 8u), bytes_at(high, 16u), 0u);
    }
}

/// One byte of each of four words, as signed digits.
fn bytes_at(words: vec4<u32>, shift: u32) -> u32 {
    let four = (words >> vec4<u32>(shift)) & vec4<u32>(0xffu);
    return (four.x | (four.y << 8u) | (four.z << 16u) | (four.w << 24u)) ^ 0x80808080u;
}

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

/// Adds up what the invocations of each team have of one output.
fn share(row: u32, local: u32, sums: Digits) {
    partial[local] = sums.a.x;
    partial[ALL + local] = sums.a.y;
    partial[2u * ALL + local] = sums.a.z;
    partial[3u * ALL + local] = sums.a.w;
    partial[4u * ALL + local] = sums.b.x;
    partial[5u * ALL + local] = sums.b.y;
    partial[6u * ALL + local] = sums.b.z;
    workgroupBarrier();
    // Eight invocations for each digit of each team.
    let which = local / 8u;
    if (which < 4u * DIGITS) {
        var sum = 0;
        for (var i = local % 8u; i < TEAM; i += 8u) {
            sum += partial[which * TEAM + i];
        }
        atomicAdd(&digit_sums[(which % 4u * (ROWS + 1u) + row) * DIGITS + which / 4u], sum);
    }
    workgroupBarrier();
}

@compute @workgroup_size(256)
fn gemv_narrow(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let unused = begin(group, groups, 0u);
    let first = (group.y * groups.x + group.x) * OUTS;
    let outs = arg(1u);
    let depth = arg(2u);
    let x = arg(3u);
    if (first >= outs) {
        return;
    }
    let s = store_at(9u);
    let width = s.width;
    let per_byte = 8u / width;
    // Signed codes count from the smallest number, eight-bit ones are signed bytes.
    let smallest = select(0u, 1u << (width - 1u), s.signed != (width == 8u)) * 0x01010101u;
    let row_words = depth >> s.log_per_word;
    let team = local / TEAM;
    let lane = local % TEAM;
    let four = vec4<u32>(first + team * ROWS) + vec4<u32>(0u, 1u, 2u, 3u);
    let rows = min(four, vec4<u32>(outs - 1u)) * row_words;
    let more = min(four + 4u, vec4<u32>(outs - 1u)) * row_words;
    if (local < 4u * (ROWS + 1u) * DIGITS) {
        atomicStore(&digit_sums[local], 0);
    }
    let ends = spanned(x, depth, local);
    let is_cut = atomicLoad(&odd) == 0u && ends.y - ends.x <= REACH;
    let low = select(ends.x, 0, ends.x > ends.y);
    let none = Digits(vec4<i32>(), vec4<i32>());
    var sums = Nine(none, none, none, none, none, none, none, none, none);
    for (var panel = 0u; panel < depth; panel += PANEL) {
        let start = panel >> s.log_per_word;
        let words = min(PANEL >> s.log_per_word, row_words - start);
        // A word of each output is under way while others are used.
        var next = words_at(s, rows, more, start + min(lane, words - 1u));
        cut(x + panel, depth - panel, low, per_byte, local);
        workgroupBarrier();
        for (var word = lane; word < words; word += TEAM) {
            let w = next;
            next = words_at(s, rows, more, start + min(word + TEAM, words - 1u));
            for (var step = 0u; step < per_byte; step += 1u) {
                let quad = step * (QUADS / per_byte) + word;
                sums = plus_step(sums, w, pieces[quad], pieces[QUADS + quad], width, step, smallest);
            }
        }
        workgroupBarrier();
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
    let o = first + local;
    if (local >= OUTS || o >= outs) {
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
        let at = local / ROWS * (ROWS + 1u) * DIGITS;
        var lower = 0li;
        var upper = 0li;
        for (var d = 0u; d < DIGITS; d += 1u) {
            let products = atomicLoad(&digit_sums[at + local % ROWS * DIGITS + d]);
            let sum = factor * i64(products) + offset * i64(atomicLoad(&digit_sums[at + ROWS * DIGITS + d]));
            if (d < 4u) {
                lower += sum << (8u * d);
            } else {
                upper += sum << (8u * (d - 4u));
            }
        }
        v = rounded(upper, lower, low - 149);
    } else {
        var sum = no_sum();
        for (var k = 0u; k < depth; k += 1u) {
            sum = plus(sum, load(x + k), weight(s, o * depth + k));
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
