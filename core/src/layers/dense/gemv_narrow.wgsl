// One row of x with many outputs whose weights are whole numbers of at most eight bits: the twin of
// backend/exact.rs. `digits` writes x as whole numbers over a power of two and cuts them into
// digits of base 256; `gemv_narrow` sums products of digits and codes in integers, in any order, and
// rounds once. A row whose numbers lie too far apart is summed element by element.

/// Digits of a number; the bits that they reach; words of the header that stands before them.
const DIGITS: u32 = 7u;
const REACH: i32 = 54;
const HEADER: u32 = 16u;

/// Exponents of the lowest and above the highest bit of f32 bits that are not 0, in units of 2^-149.
fn span(b: u32) -> vec2<i32> {
    let biased = (b >> 23u) & 0xffu;
    let m = select((b & 0x7fffffu) | 0x800000u, b & 0x7fffffu, biased == 0u);
    let e = select(i32(biased) - 1, 0, biased == 0u);
    return vec2<i32>(e + i32(firstTrailingBit(m)), e + 32 - i32(countLeadingZeros(m)));
}

var<workgroup> lows: array<atomic<i32>, 1>;
var<workgroup> highs: array<atomic<i32>, 1>;
var<workgroup> odd: atomic<u32>;
var<workgroup> sums: array<atomic<i32>, 7>;

/// Arguments: x, where the digits go, elements, bits of a code. The header: whether the row is cut,
/// the lowest exponent, and the sum of each digit.
@compute @workgroup_size(256)
fn digits(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let unused = begin(group, groups, 0u);
    let x = arg(0u);
    let out = arg(1u);
    let n = arg(2u);
    let width = arg(3u);
    if (local == 0u) {
        atomicStore(&lows[0], 1000);
        atomicStore(&highs[0], -1000);
        atomicStore(&odd, 0u);
    }
    if (local < DIGITS) {
        atomicStore(&sums[local], 0);
    }
    workgroupBarrier();
    var low = 1000;
    var high = -1000;
    for (var k = local; k < n; k += 256u) {
        let b = bits(x + k);
        if (((b >> 23u) & 0xffu) == 0xffu) {
            atomicStore(&odd, 1u);
        } else if ((b << 1u) != 0u) {
            let ends = span(b);
            low = min(low, ends.x);
            high = max(high, ends.y);
        }
    }
    atomicMin(&lows[0], low);
    atomicMax(&highs[0], high);
    workgroupBarrier();
    low = atomicLoad(&lows[0]);
    high = atomicLoad(&highs[0]);
    let is_cut = atomicLoad(&odd) == 0u && high - low <= REACH;
    // A word holds codes of `per_byte` steps, four at a time.
    let per_byte = 8u / width;
    var mine = array<i32, 7>();
    for (var quad = local; is_cut && quad < n / 4u; quad += 256u) {
        let word = quad / per_byte;
        let step = quad % per_byte;
        var packed = array<u32, 7>();
        for (var byte = 0u; byte < 4u; byte += 1u) {
            let b = bits(x + (word * 4u + byte) * per_byte + step);
            let biased = (b >> 23u) & 0xffu;
            let m = select((b & 0x7fffffu) | 0x800000u, b & 0x7fffffu, biased == 0u);
            let e = select(i32(biased) - 1, 0, biased == 0u);
            var whole = 0li;
            if (m != 0u) {
                if (e < low) {
                    whole = i64(m >> u32(low - e));
                } else {
                    whole = i64(m) << u32(e - low);
                }
            }
            whole = select(whole, -whole, (b >> 31u) == 1u);
            // With 128 added to every digit, digits are the bytes of a two's complement number.
            let moved = bitcast<u64>(whole + 0x0080808080808080li);
            for (var d = 0u; d < DIGITS; d += 1u) {
                let digit = u32((moved >> (8u * d)) & 0xfflu) ^ 0x80u;
                packed[d] = packed[d] | (digit << (8u * byte));
                mine[d] += i32(digit << 24u) >> 24u;
            }
        }
        for (var d = 0u; d < DIGITS; d += 1u) {
            set_bits(out + HEADER + 8u * quad + d, packed[d]);
        }
        set_bits(out + HEADER + 8u * quad + 7u, 0u);
    }
    for (var d = 0u; d < DIGITS; d += 1u) {
        atomicAdd(&sums[d], mine[d]);
    }
    workgroupBarrier();
    if (local == 0u) {
        set_bits(out, select(0u, 1u, is_cut));
        set_bits(out + 1u, bitcast<u32>(select(low, 0, low > high) - 149));
    }
    if (local < DIGITS) {
        set_bits(out + 2u + local, bitcast<u32>(atomicLoad(&sums[local])));
    }
}

/// Outputs of a workgroup.
const ROWS: u32 = 4u;

var<workgroup> partial: array<i32, 1792>;

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
    var acc = array<array<i32, 7>, 4>();
    for (var w = 4u * local; is_cut && w < row_words; w += 256u) {
        var words: array<vec4<u32>, 4>;
        for (var r = 0u; r < ROWS; r += 1u) {
            words[r] = code_words(s, min(first + r, outs - 1u) * row_words + w);
        }
        for (var j = 0u; j < 4u; j += 1u) {
            for (var step = 0u; step < per_byte; step += 1u) {
                let at = digits_at + 8u * ((w + j) * per_byte + step);
                let a = arena[(base + at) >> 2u];
                let b = arena[(base + at + 4u) >> 2u];
                for (var r = 0u; r < ROWS; r += 1u) {
                    let c = step_codes(words[r][j], width, step, smallest);
                    acc[r][0] += dot4I8Packed(a.x, c);
                    acc[r][1] += dot4I8Packed(a.y, c);
                    acc[r][2] += dot4I8Packed(a.z, c);
                    acc[r][3] += dot4I8Packed(a.w, c);
                    acc[r][4] += dot4I8Packed(b.x, c);
                    acc[r][5] += dot4I8Packed(b.y, c);
                    acc[r][6] += dot4I8Packed(b.z, c);
                }
            }
        }
    }
    for (var r = 0u; r < ROWS; r += 1u) {
        for (var d = 0u; d < DIGITS; d += 1u) {
            partial[(r * DIGITS + d) * 64u + local] = acc[r][d];
        }
    }
    workgroupBarrier();
    // One invocation adds up each digit of each output, one more joins the digits.
    if (local < ROWS * DIGITS) {
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
            let sum = factor * i64(partial[(local * DIGITS + d) * 64u]) + offset * i64(bitcast<i32>(bits(arg(9u) + 2u + d)));
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
