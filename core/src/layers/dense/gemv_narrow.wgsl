// One row of x with many outputs whose weights are whole numbers of at most eight bits: the twin of
// backend/exact.rs. Every workgroup writes x as whole numbers over a power of two and cuts them into
// digits of base 256; products of digits and codes are summed in integers, in any order, and rounded
// once. A row whose numbers lie too far apart is summed element by element. Arguments: those of gpu.wgsl.

/// Outputs and invocations of a workgroup, and of each of its teams.
const OUTS: u32 = 64u;
const ALL: u32 = 256u;
const ROWS: u32 = 8u;
const TEAM: u32 = 32u;
/// Elements that are cut at a time, and their quads.
const PANEL: u32 = 2048u;
const QUADS: u32 = 512u;
/// Digits of a number; the bits that they reach.
const DIGITS: u32 = 7u;
const REACH: i32 = 54;

/// The exponent of the last place of f32 bits, in units of 2^-149.
fn places(b: vec4<u32>) -> vec4<i32> {
    return max(vec4<i32>((b >> vec4<u32>(23u)) & vec4<u32>(0xffu)), vec4<i32>(1)) - vec4<i32>(1);
}

/// What no number spans.
const NOTHING: vec2<i32> = vec2<i32>(1000, -1000);

var<workgroup> lowest: atomic<i32>;
var<workgroup> highest: atomic<i32>;
var<workgroup> odd: atomic<u32>;
/// Digits 0 to 3 of the quads of a panel, then digits 4 to 6.
var<workgroup> pieces: array<vec4<u32>, 1024>;
/// Sums of one output of each team, by digit and invocation; and sums by output and digit, those of
/// the digits alone last.
var<workgroup> partial: array<i32, 1792>;
var<workgroup> digit_sums: array<atomic<i32>, 455>;

/// A number in units of 2^(low - 149), with 128 added to each digit: then digits are the bytes of a
/// two's complement number.
fn moved(b: u32, low: i32) -> u64 {
    let biased = (b >> 23u) & 0xffu;
    let m = (b & 0x7fffffu) | select(0x800000u, 0u, biased == 0u);
    let whole = i64(m) << u32(max(max(i32(biased), 1) - 1 - low, 0));
    return bitcast<u64>(select(whole, -whole, (b >> 31u) == 1u) + 0x0080808080808080li);
}

fn with_quad(ends: vec2<i32>, four: vec4<u32>) -> vec2<i32> {
    let e = places(four);
    // 254 is the place of what is not finite.
    if (any(e == vec4<i32>(254))) {
        atomicStore(&odd, 1u);
    }
    let is_zero = (four << vec4<u32>(1u)) == vec4<u32>();
    let low = select(e, vec4<i32>(NOTHING.x), is_zero);
    let high = select(e, vec4<i32>(NOTHING.y), is_zero);
    return vec2<i32>(
        min(min(min(low.x, low.y), min(low.z, low.w)), ends.x),
        max(max(max(high.x, high.y), max(high.z, high.w)), ends.y),
    );
}

/// The least and the greatest place of the elements of x.
fn spanned(x: u32, n: u32, local: u32) -> vec2<i32> {
    if (local == 0u) {
        atomicStore(&lowest, NOTHING.x);
        atomicStore(&highest, NOTHING.y);
        atomicStore(&odd, 0u);
    }
    workgroupBarrier();
    var ends = NOTHING;
    let first = (base + x) >> 2u;
    let last = first + n / 4u - 1u;
    // Four at a time, so that their loads are under way together.
    for (var at = first + local; at <= last; at += 4u * ALL) {
        let a = arena[at];
        let b = arena[min(at + ALL, last)];
        let c = arena[min(at + 2u * ALL, last)];
        let d = arena[min(at + 3u * ALL, last)];
        ends = with_quad(with_quad(with_quad(with_quad(ends, a), b), c), d);
    }
    atomicMin(&lowest, ends.x);
    atomicMax(&highest, ends.y);
    workgroupBarrier();
    return vec2<i32>(atomicLoad(&lowest), atomicLoad(&highest));
}

/// One byte of each of four words, as signed digits.
fn bytes_at(words: vec4<u32>, shift: u32) -> u32 {
    let four = (words >> vec4<u32>(shift)) & vec4<u32>(0xffu);
    return (four.x | (four.y << 8u) | (four.z << 16u) | (four.w << 24u)) ^ 0x80808080u;
}

/// Cuts the elements of a panel, and adds up their digits. A word holds codes of `per_byte` steps, four
/// at a time. The quads of the first word of every four lie first, step by step, then those of
/// the second, so that neighbours read neighbours.
fn cut(sums: Digits, x: u32, n: u32, low: i32, per_byte: u32, local: u32) -> Digits {
    var ones = sums;
    let fours = QUADS / (4u * per_byte);
    for (var quad = local; quad < QUADS; quad += ALL) {
        let which = quad / fours;
        let k = (quad % fours * 4u + which / per_byte) * 4u * per_byte + which % per_byte;
        var lower = vec4<u32>();
        var upper = vec4<u32>();
        if (k < n) {
            let a = moved(bits(x + k), low);
            let b = moved(bits(x + k + per_byte), low);
            let c = moved(bits(x + k + 2u * per_byte), low);
            let d = moved(bits(x + k + 3u * per_byte), low);
            lower = vec4<u32>(u32(a & 0xfffffffflu), u32(b & 0xfffffffflu), u32(c & 0xfffffffflu), u32(d & 0xfffffffflu));
            upper = vec4<u32>(u32(a >> 32u), u32(b >> 32u), u32(c >> 32u), u32(d >> 32u));
            let first = vec4<u32>(bytes_at(lower, 0u), bytes_at(lower, 8u), bytes_at(lower, 16u), bytes_at(lower, 24u));
            let last = vec4<u32>(bytes_at(upper, 0u), bytes_at(upper, 8u), bytes_at(upper, 16u), 0u);
            ones = plus_codes(ones, first, last, 0x01010101u);
            pieces[quad] = first;
            pieces[QUADS + quad] = last;
        }
    }
    return ones;
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

/// Four words of each of four outputs, of eight for which a team stands.
struct Words {
    a: vec4<u32>,
    b: vec4<u32>,
    c: vec4<u32>,
    d: vec4<u32>,
}

fn words_at(s: Store, rows: vec4<u32>, word: u32) -> Words {
    return Words(code_words(s, rows.x + word), code_words(s, rows.y + word), code_words(s, rows.z + word), code_words(s, rows.w + word));
}

/// Sums of eight outputs.
struct Eight {
    a: Digits,
    b: Digits,
    c: Digits,
    d: Digits,
    e: Digits,
    f: Digits,
    g: Digits,
    h: Digits,
}

/// A word of each output, whose quads stand `stride` apart from `at` on.
fn plus_word(sums: Eight, words: vec4<u32>, more: vec4<u32>, at: u32, stride: u32, width: u32, sign: u32) -> Eight {
    var all = sums;
    for (var step = 0u; step < 8u / width; step += 1u) {
        let a = pieces[at + step * stride];
        let b = pieces[QUADS + at + step * stride];
        all = Eight(
            plus_codes(all.a, a, b, step_codes(words.x, width, step, sign)),
            plus_codes(all.b, a, b, step_codes(words.y, width, step, sign)),
            plus_codes(all.c, a, b, step_codes(words.z, width, step, sign)),
            plus_codes(all.d, a, b, step_codes(words.w, width, step, sign)),
            plus_codes(all.e, a, b, step_codes(more.x, width, step, sign)),
            plus_codes(all.f, a, b, step_codes(more.y, width, step, sign)),
            plus_codes(all.g, a, b, step_codes(more.z, width, step, sign)),
            plus_codes(all.h, a, b, step_codes(more.w, width, step, sign)),
        );
    }
    return all;
}

/// Adds up what the invocations of each team have of one output; what all have of the digits alone
/// when `row` is ROWS.
fn share(row: u32, local: u32, sums: Digits) {
    partial[local] = sums.a.x;
    partial[ALL + local] = sums.a.y;
    partial[2u * ALL + local] = sums.a.z;
    partial[3u * ALL + local] = sums.a.w;
    partial[4u * ALL + local] = sums.b.x;
    partial[5u * ALL + local] = sums.b.y;
    partial[6u * ALL + local] = sums.b.z;
    workgroupBarrier();
    // Four invocations for each digit of each team.
    let which = local / 4u;
    if (which < ALL / TEAM * DIGITS) {
        var sum = 0;
        for (var i = local % 4u; i < TEAM; i += 4u) {
            sum += partial[which * TEAM + i];
        }
        let output = select(which % (ALL / TEAM) * ROWS + row, OUTS, row == ROWS);
        atomicAdd(&digit_sums[output * DIGITS + which / (ALL / TEAM)], sum);
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
    let row_fours = (depth >> s.log_per_word) / 4u;
    let lane = local % TEAM;
    let four = vec4<u32>(first + local / TEAM * ROWS) + vec4<u32>(0u, 1u, 2u, 3u);
    let rows = min(four, vec4<u32>(outs - 1u)) * (4u * row_fours);
    let others = min(four + 4u, vec4<u32>(outs - 1u)) * (4u * row_fours);
    for (var i = local; i < (OUTS + 1u) * DIGITS; i += ALL) {
        atomicStore(&digit_sums[i], 0);
    }
    let ends = spanned(x, depth, local);
    let is_cut = atomicLoad(&odd) == 0u && ends.y - ends.x + 24 <= REACH;
    let low = select(ends.x, 0, ends.x > ends.y);
    let none = Digits(vec4<i32>(), vec4<i32>());
    var ones = none;
    var sums = Eight(none, none, none, none, none, none, none, none);
    let stride = QUADS / (4u * per_byte);
    var next = words_at(s, rows, 4u * min(lane, row_fours - 1u));
    var after = words_at(s, others, 4u * min(lane, row_fours - 1u));
    for (var panel = 0u; panel < depth; panel += PANEL) {
        ones = cut(ones, x + panel, depth - panel, low, per_byte, local);
        workgroupBarrier();
        let start = (panel >> s.log_per_word) / 4u;
        let fours = min(stride, row_fours - start);
        for (var i = lane; i < fours; i += TEAM) {
            // The next words are under way while these are used.
            let w = next;
            let v = after;
            let ahead = start + select(stride + lane, i + TEAM, i + TEAM < fours);
            next = words_at(s, rows, 4u * min(ahead, row_fours - 1u));
            after = words_at(s, others, 4u * min(ahead, row_fours - 1u));
            sums = plus_word(sums, vec4<u32>(w.a.x, w.b.x, w.c.x, w.d.x), vec4<u32>(v.a.x, v.b.x, v.c.x, v.d.x), i, stride, width, smallest);
            sums = plus_word(sums, vec4<u32>(w.a.y, w.b.y, w.c.y, w.d.y), vec4<u32>(v.a.y, v.b.y, v.c.y, v.d.y), i + stride * per_byte, stride, width, smallest);
            sums = plus_word(sums, vec4<u32>(w.a.z, w.b.z, w.c.z, w.d.z), vec4<u32>(v.a.z, v.b.z, v.c.z, v.d.z), i + 2u * stride * per_byte, stride, width, smallest);
            sums = plus_word(sums, vec4<u32>(w.a.w, w.b.w, w.c.w, w.d.w), vec4<u32>(v.a.w, v.b.w, v.c.w, v.d.w), i + 3u * stride * per_byte, stride, width, smallest);
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
    share(ROWS, local, ones);
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
        var lower = 0li;
        var upper = 0li;
        for (var d = 0u; d < DIGITS; d += 1u) {
            let products = atomicLoad(&digit_sums[local * DIGITS + d]);
            let sum = factor * i64(products) + offset * i64(atomicLoad(&digit_sums[OUTS * DIGITS + d]));
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
