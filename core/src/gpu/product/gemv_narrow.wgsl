// One row of x with many outputs whose weights are whole numbers of at most eight bits: the twin of
// backend/exact.rs. Every workgroup writes x as whole numbers over a power of two and cuts them into
// digits of base 256; products of digits and codes are summed in integers, in any order, and rounded
// once. A row whose numbers lie too far apart is summed element by element. Arguments: those of gpu.wgsl.

/// Outputs and invocations of a workgroup, and of each of its teams.
const OUTS: u32 = 64u;
const ALL: u32 = 512u;
const ROWS: u32 = 4u;
const TEAM: u32 = 32u;
/// Elements that are cut at a time, a quad by each invocation.
const PANEL: u32 = 2048u;
/// Where digits 4 to 6 begin: after the quads and a gap in each of up to 32 rows of them.
const UPPER: u32 = 544u;
/// Digits of a number; the bits that they reach.
const DIGITS: u32 = 7u;
const REACH: i32 = 54;

/// The exponent of the last place of f32 bits, in units of 2^-149.
fn places(b: vec4<u32>) -> vec4<i32> {
    return max(vec4<i32>((b >> vec4<u32>(23u)) & vec4<u32>(0xffu)), vec4<i32>(1)) - vec4<i32>(1);
}

/// What no number spans; the place of what is not finite.
const NOTHING: vec2<i32> = vec2<i32>(1000, -1000);
const INFINITE: i32 = 254;

/// Digits 0 to 3 of the quads of a panel, then digits 4 to 6; what invocations add up together.
var<workgroup> pieces: array<vec4<u32>, 1088>;
/// Sums by output and digit, those of the digits alone last.
var<workgroup> digit_sums: array<atomic<i32>, 455>;
/// The opposites of the least places, and the greatest, of a sixteenth of the invocations each.
var<workgroup> most: array<vec2<i32>, 16>;

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
    pieces[local] = bitcast<vec4<u32>>(vec4<i32>(-ends.x, ends.y, 0, 0));
    workgroupBarrier();
    if (local < 16u) {
        ends = vec2<i32>(-NOTHING.x, NOTHING.y);
        for (var i = 0u; i < ALL / 16u; i += 1u) {
            ends = max(ends, bitcast<vec4<i32>>(pieces[16u * i + local]).xy);
        }
        most[local] = ends;
    }
    workgroupBarrier();
    ends = vec2<i32>(-NOTHING.x, NOTHING.y);
    for (var i = 0u; i < 16u; i += 1u) {
        ends = max(ends, most[i]);
    }
    return vec2<i32>(-ends.x, ends.y);
}

/// The bytes of four words as signed digits: the lowest of each, the next, and so on.
fn digits(words: vec4<u32>) -> vec4<u32> {
    // Bytes 0 and 2 of the first and second word, of the third and fourth; bytes 1 and 3.
    let even = (words.xz & vec2<u32>(0x00ff00ffu)) | ((words.yw << vec2<u32>(8u)) & vec2<u32>(0xff00ff00u));
    let odd = ((words.xz >> vec2<u32>(8u)) & vec2<u32>(0x00ff00ffu)) | (words.yw & vec2<u32>(0xff00ff00u));
    return vec4<u32>(
        (even.x & 0xffffu) | (even.y << 16u),
        (odd.x & 0xffffu) | (odd.y << 16u),
        (even.x >> 16u) | (even.y & 0xffff0000u),
        (odd.x >> 16u) | (odd.y & 0xffff0000u),
    ) ^ vec4<u32>(0x80808080u);
}

/// Cuts a quad of a panel, which has `n` elements from x on, and adds up its digits. A word holds codes
/// of `per_byte` steps, four at a time. The quads of the first word of every four lie first, step by
/// step, then those of the second, so that neighbours read neighbours: rows of quads, `stride` apart.
fn cut(sums: Digits, x: u32, n: u32, low: i32, per_byte: u32, stride: u32, quad: u32) -> Digits {
    let rows = 4u * per_byte;
    let row = quad % rows;
    let column = quad / rows;
    let k = (column * 4u + row / per_byte) * rows + row % per_byte;
    var four = vec4<u32>();
    if (k < n) {
        let at = x + k;
        four = vec4<u32>(bits(at), bits(at + per_byte), bits(at + 2u * per_byte), bits(at + 3u * per_byte));
    }
    let a = moved(four.x, low);
    let b = moved(four.y, low);
    let c = moved(four.z, low);
    let d = moved(four.w, low);
    let lower = vec4<u32>(u32(a & 0xfffffffflu), u32(b & 0xfffffffflu), u32(c & 0xfffffffflu), u32(d & 0xfffffffflu));
    let upper = vec4<u32>(u32(a >> 32u), u32(b >> 32u), u32(c >> 32u), u32(d >> 32u));
    let first = digits(lower);
    let last = digits(upper);
    pieces[row * stride + column] = first;
    pieces[UPPER + row * stride + column] = last;
    return plus_codes(sums, first, last, 0x01010101u);
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

/// Codes of one step of four words, each as four signed bytes, with `sign` turned.
fn step_codes(words: vec4<u32>, width: u32, step: u32, sign: u32) -> vec4<u32> {
    if (width == 8u) {
        return words ^ vec4<u32>(sign);
    }
    let mask = ((1u << width) - 1u) * 0x01010101u;
    return ((words >> vec4<u32>(8u - width - width * step)) & vec4<u32>(mask)) ^ vec4<u32>(sign);
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

/// Four words of each output for which a team stands.
struct Words {
    a: vec4<u32>,
    b: vec4<u32>,
    c: vec4<u32>,
    d: vec4<u32>,
}

fn words_at(s: Store, rows: vec4<u32>, word: u32) -> Words {
    return Words(code_words(s, rows.x + word), code_words(s, rows.y + word), code_words(s, rows.z + word), code_words(s, rows.w + word));
}

/// Sums of those outputs.
struct Sums {
    a: Digits,
    b: Digits,
    c: Digits,
    d: Digits,
}

/// Two words of an output, whose sums are added to the others at once.
fn plus_both(sums: Digits, a: vec4<u32>, b: vec4<u32>, codes_a: u32, c: vec4<u32>, d: vec4<u32>, codes_c: u32) -> Digits {
    return Digits(
        sums.a + vec4<i32>(
            dot4I8Packed(a.x, codes_a) + dot4I8Packed(c.x, codes_c),
            dot4I8Packed(a.y, codes_a) + dot4I8Packed(c.y, codes_c),
            dot4I8Packed(a.z, codes_a) + dot4I8Packed(c.z, codes_c),
            dot4I8Packed(a.w, codes_a) + dot4I8Packed(c.w, codes_c),
        ),
        sums.b + vec4<i32>(
            dot4I8Packed(b.x, codes_a) + dot4I8Packed(d.x, codes_c),
            dot4I8Packed(b.y, codes_a) + dot4I8Packed(d.y, codes_c),
            dot4I8Packed(b.z, codes_a) + dot4I8Packed(d.z, codes_c),
            0,
        ),
    );
}

/// One step of two words of each output, whose quads stand at `at` and at `then`.
fn plus_step(sums: Sums, v: vec4<u32>, w: vec4<u32>, at: u32, then: u32, width: u32, step: u32, sign: u32) -> Sums {
    let a = pieces[at];
    let b = pieces[UPPER + at];
    let c = pieces[then];
    let d = pieces[UPPER + then];
    let p = step_codes(v, width, step, sign);
    let q = step_codes(w, width, step, sign);
    return Sums(
        plus_both(sums.a, a, b, p.x, c, d, q.x),
        plus_both(sums.b, a, b, p.y, c, d, q.y),
        plus_both(sums.c, a, b, p.z, c, d, q.z),
        plus_both(sums.d, a, b, p.w, c, d, q.w),
    );
}

/// Two words of each output, whose quads stand `stride` apart from `at` on.
fn plus_words(sums: Sums, v: vec4<u32>, w: vec4<u32>, at: u32, stride: u32, width: u32, sign: u32) -> Sums {
    let then = at + 8u / width * stride;
    // Loops over few steps are not unrolled by every compiler.
    var all = plus_step(sums, v, w, at, then, width, 0u, sign);
    if (width < 8u) {
        all = plus_step(all, v, w, at + stride, then + stride, width, 1u, sign);
    }
    for (var step = 2u; step < 8u / width; step += 1u) {
        all = plus_step(all, v, w, at + step * stride, then + step * stride, width, step, sign);
    }
    return all;
}

/// Four words of each output.
fn plus_fours(sums: Sums, w: Words, at: u32, stride: u32, width: u32, sign: u32) -> Sums {
    let x = vec4<u32>(w.a.x, w.b.x, w.c.x, w.d.x);
    let y = vec4<u32>(w.a.y, w.b.y, w.c.y, w.d.y);
    let z = vec4<u32>(w.a.z, w.b.z, w.c.z, w.d.z);
    let half = plus_words(sums, x, y, at, stride, width, sign);
    let rest = vec4<u32>(w.a.w, w.b.w, w.c.w, w.d.w);
    return plus_words(half, z, rest, at + 16u / width * stride, stride, width, sign);
}

/// Adds up what the invocations of each team have of one output; what all have of the digits alone
/// when `row` is ROWS.
fn share(row: u32, local: u32, sums: Digits) {
    pieces[local] = bitcast<vec4<u32>>(sums.a);
    pieces[ALL + local] = bitcast<vec4<u32>>(sums.b);
    workgroupBarrier();
    // Four invocations for each digit, each for eight others, so that no two meet in one bank.
    let team = local / TEAM;
    let digit = local % 8u;
    let part = local % TEAM / 8u;
    if (digit < DIGITS) {
        let start = digit / 4u * ALL + team * TEAM + 8u * part;
        var sum = 0;
        for (var i = 0u; i < 8u; i += 1u) {
            sum += bitcast<i32>(pieces[start + ((i + 2u * part + digit / 4u) & 7u)][digit & 3u]);
        }
        let output = select(team * ROWS + row, OUTS, row == ROWS);
        atomicAdd(&digit_sums[output * DIGITS + digit], sum);
    }
    workgroupBarrier();
}

@compute @workgroup_size(512)
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
    for (var i = local; i < (OUTS + 1u) * DIGITS; i += ALL) {
        atomicStore(&digit_sums[i], 0);
    }
    let ends = spanned(x, depth, local);
    let is_cut = ends.y < INFINITE && ends.y - ends.x + 24 <= REACH;
    let low = select(ends.x, 0, ends.x > ends.y);
    let none = Digits(vec4<i32>(), vec4<i32>());
    var ones = none;
    var sums = Sums(none, none, none, none);
    let panel_fours = ALL / (4u * per_byte);
    let stride = panel_fours + 1u;
    var next = words_at(s, rows, 4u * min(lane, row_fours - 1u));
    for (var panel = 0u; panel < depth; panel += PANEL) {
        ones = cut(ones, x + panel, depth - panel, low, per_byte, stride, local);
        workgroupBarrier();
        let start = (panel >> s.log_per_word) / 4u;
        let fours = min(panel_fours, row_fours - start);
        for (var i = lane; i < fours; i += TEAM) {
            // The next words are under way while these are used.
            let w = next;
            let ahead = start + select(panel_fours + lane, i + TEAM, i + TEAM < fours);
            next = words_at(s, rows, 4u * min(ahead, row_fours - 1u));
            // The steps of the usual widths are known to the compiler.
            if (width == 4u) {
                sums = plus_fours(sums, w, i, stride, 4u, smallest);
            } else if (width == 8u) {
                sums = plus_fours(sums, w, i, stride, 8u, smallest);
            } else {
                sums = plus_fours(sums, w, i, stride, width, smallest);
            }
        }
        workgroupBarrier();
    }
    share(0u, local, sums.a);
    share(1u, local, sums.b);
    share(2u, local, sums.c);
    share(3u, local, sums.d);
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
