// One row of x with many outputs, whose bits are those of the CPU's sum, k ascending, rounded at every
// step. Products of two f32 are exact in f64. A workgroup sums four outputs in another order, and
// proves that it makes no difference; where the proof fails, about once in ten thousand outputs,
// `in_order` finds what the CPU's order gives.
//
// The proof: a step of the CPU's sum errs by at most half an ulp of the partial sum s that it makes,
// which is 2^-53 floor2(s), floor2 being the largest power of two that is not greater (Higham, 2002,
// 2.2). Within a chunk of elements |s| is at most the magnitude of the sum before the chunk and the
// largest magnitude that a partial sum of the chunk alone has. Our own sum errs likewise: at most
// RUN steps within a chunk, 7 over the chunks of an invocation, 6 over the invocations of a row and
// less than 16 over panels, none of which makes more than the chunks' magnitudes together. With a
// bound on both, which 1.02 keeps above the roundings of its own making for rows of up to 2^22
// elements, all numbers within it of our sum must be the same f32.
//
// Weights are taken as w 2^-896, whose bits are those of the f32 moved apart, and x as x 2^896, which
// makes what is not finite infinite. Arguments: those of gpu.wgsl.

/// Outputs and invocations of a workgroup; invocations of one output.
const OUTS: u32 = 4u;
const ALL: u32 = 256u;
const MATES: u32 = 64u;
/// Chunks of an output that are summed before the workgroup looks at them: a panel.
const PANEL: u32 = 512u;
/// Words of codes in a chunk.
const CHUNK: u32 = 8u;
/// Elements that are added in order at a time, and those of one residue.
const SEGMENT: u32 = 2048u;
const STRETCH: u32 = 32u;

/// 2^896, and 1.02 times 2^-53.
const LIFT: f64 = 5.282945311356653e+269lf;
const HALF_ULP: f64 = 1.1324274851176597e-16lf;

/// Sums of the chunks of a panel, or the products of a segment.
var<workgroup> terms: array<f64, 2304>;
/// Upper halves of the largest partial sums.
var<workgroup> tops: array<f32, 1152>;
var<workgroup> runs: array<f64, 512>;
/// How far the outputs' sums may lie from the CPU's; below 0 where that makes no difference.
var<workgroup> slacks: array<f64, 4>;
/// What a stretch adds to a sum, by its last two bits; infinite where that is not known.
var<workgroup> gains: array<vec4<f64>, 64>;
var<workgroup> state: f64;

/// f32 bits as that number times 2^-896.
fn lifted(b: u32) -> f64 {
    return joined(b << 29u, bitcast<u32>(bitcast<i32>(b) >> 3u) & 0x8fffffffu);
}

/// The upper half of a number.
fn high(v: f64) -> u32 {
    return u32(bitcast<u64>(v) >> 32u);
}

/// Where neighbours that one invocation reads stand, so that invocations do not meet in one bank.
fn place(i: u32) -> u32 {
    return i + (i >> 3u);
}

/// Whether codes are half as wide as f32.
fn is_short() -> bool {
    return RULE == HALF || RULE == BFLOAT;
}

/// The codes of two words as f32 bits.
fn singles(words: vec2<u32>) -> vec4<u32> {
    if (RULE == BFLOAT) {
        return vec4<u32>(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u);
    }
    return bitcast<vec4<u32>>(vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y)));
}

/// Sums of a chunk of each output, and the upper half of the largest magnitude of those so far. As
/// f32 such halves have the order of magnitudes.
struct Partial {
    sum: vec4<f64>,
    top: vec4<f32>,
}

fn plus_element(p: Partial, x: u32, w: vec4<u32>) -> Partial {
    let y = (lifted(x) * LIFT) * LIFT;
    // Products are exact, so that it makes no difference whether they are fused.
    let a = fma(y, lifted(w.x), p.sum.x);
    let b = fma(y, lifted(w.y), p.sum.y);
    let c = fma(y, lifted(w.z), p.sum.z);
    let d = fma(y, lifted(w.w), p.sum.w);
    let highs = vec4<u32>(high(a), high(b), high(c), high(d));
    return Partial(vec4<f64>(a, b, c, d), max(p.top, abs(bitcast<vec4<f32>>(highs))));
}

fn plus_quad(p: Partial, x: vec4<u32>, a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>) -> Partial {
    let first = plus_element(p, x.x, vec4<u32>(a.x, b.x, c.x, d.x));
    let second = plus_element(first, x.y, vec4<u32>(a.y, b.y, c.y, d.y));
    let third = plus_element(second, x.z, vec4<u32>(a.z, b.z, c.z, d.z));
    return plus_element(third, x.w, vec4<u32>(a.w, b.w, c.w, d.w));
}

/// Four words of codes of each output more, with the elements of x from a quad on.
fn plus_words(p: Partial, x: u32, a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>) -> Partial {
    if (!is_short()) {
        return plus_quad(p, arena[x], a, b, c, d);
    }
    let half = plus_quad(p, arena[x], singles(a.xy), singles(b.xy), singles(c.xy), singles(d.xy));
    return plus_quad(half, arena[x + 1u], singles(a.zw), singles(b.zw), singles(c.zw), singles(d.zw));
}

/// The sum over the invocations before this one of its 64; `whole` then has that over all.
fn before(own: f64, local: u32) -> f64 {
    var at = local;
    runs[at] = own;
    workgroupBarrier();
    for (var reach = 1u; reach < MATES; reach *= 2u) {
        var sum = runs[at];
        if (local % MATES >= reach) {
            sum = runs[at - reach] + sum;
        }
        at ^= ALL;
        runs[at] = sum;
        workgroupBarrier();
    }
    if (local % MATES == 0u) {
        return 0.0lf;
    }
    return runs[at - 1u];
}

fn whole(local: u32) -> f64 {
    return runs[local | (MATES - 1u)];
}

fn put(o: u32, sum: f64) {
    let at = arg(8u) + o;
    if (arg(6u) == 0xffu) {
        set_wide(arg(4u) + 2u * at, sum);
    } else {
        set_bits(arg(4u) + at, activate(arg(6u), narrow(sum + shift(arg(5u), o))));
    }
}

/// Runs a stretch from a sum whose last two bits are `residue`: what it adds.
///
/// Let u be the ulp of `start`, and let no sum of the stretch come within `slack` of a power of two, of
/// 0, or beyond the binade after that of `start`. Then a sum that starts within `slack` of it, a
/// multiple of 4 u away, goes through the same binades, whose ulps divide 2 u, and is rounded the
/// same way at every step, ties to even included: it keeps its distance.
fn gain(stretch: u32, near: f64, residue: u32, slack: f64) -> f64 {
    let start = bitcast<f64>((bitcast<u64>(near) & 0xfffffffffffffffclu) | u64(residue));
    let limit = (high(start) >> 20u & 0x7ffu) + 1u;
    var sum = start;
    var known = high(sum - slack) >> 20u == high(sum + slack) >> 20u;
    for (var k = 0u; k < STRETCH; k += 1u) {
        sum = sum + terms[place(stretch * STRETCH + k)];
        let binade = high(sum + slack) >> 20u;
        known = known && high(sum - slack) >> 20u == binade && (binade & 0x7ffu) <= limit;
    }
    return select(infinity(), sum - start, known);
}

/// The sum of an output as the CPU makes it: the invocations find out what each stretch adds to any
/// sum near the one that it will meet, then one of them goes from stretch to stretch. Where a
/// stretch is not known it goes from element to element.
fn in_order(s: Store, o: u32, slack: f64, local: u32) {
    let x = arg(3u);
    let depth = arg(2u);
    if (local == 0u) {
        state = 0.0lf;
    }
    for (var first = 0u; first < depth; first += SEGMENT) {
        for (var k = local; k < SEGMENT; k += ALL) {
            var term = 0.0lf;
            if (first + k < depth) {
                term = load(x + first + k) * weight(s, o * depth + first + k);
            }
            terms[place(k)] = term;
        }
        workgroupBarrier();
        let stretch = local % MATES;
        var own = vec4<f64>();
        for (var k = stretch * STRETCH; k < stretch * STRETCH + 8u; k += 1u) {
            own += vec4<f64>(terms[place(k)], terms[place(k + 8u)], terms[place(k + 16u)], terms[place(k + 24u)]);
        }
        let near = state + before(own.x + own.y + own.z + own.w, local);
        gains[stretch][local / MATES] = gain(stretch, near, local / MATES, slack);
        workgroupBarrier();
        if (local == 0u) {
            var sum = state;
            var next = gains[0];
            for (var i = 0u; i < MATES; i += 1u) {
                let some = next;
                next = gains[min(i + 1u, MATES - 1u)];
                let last = u32(bitcast<u64>(sum) & 3lu);
                let one = select(select(some.x, some.y, last == 1u), select(some.z, some.w, last == 3u), last >= 2u);
                if (abs(one) < infinity()) {
                    sum = sum + one;
                } else {
                    for (var k = i * STRETCH; k < (i + 1u) * STRETCH; k += 1u) {
                        sum = sum + terms[place(k)];
                    }
                }
            }
            state = sum;
        }
        workgroupBarrier();
    }
    if (local == 0u) {
        put(o, state);
    }
}

@compute @workgroup_size(256)
fn gemv(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let unused = begin(group, groups, 0u);
    let first = (group.y * groups.x + group.x) * OUTS;
    let outs = arg(1u);
    if (first >= outs) {
        return;
    }
    let s = store_at(9u);
    let row_words = arg(2u) >> s.log_per_word;
    let rows = min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(outs - 1u)) * row_words;
    let chunks = row_words / CHUNK;
    let x = (base + arg(3u)) >> 2u;
    let quads = select(2u, 4u, is_short());
    let mine = local / MATES;
    let mate = local % MATES;
    var p = Partial();
    var sum = 0.0lf;
    var slack = 0.0lf;
    for (var panel = 0u; panel < chunks; panel += PANEL) {
        for (var i = local; i < PANEL; i += ALL) {
            p.sum = vec4<f64>();
            if (panel + i < chunks) {
                let word = rows + (panel + i) * CHUNK;
                let a = code_words(s, word.x);
                let b = code_words(s, word.y);
                let c = code_words(s, word.z);
                let d = code_words(s, word.w);
                let e = code_words(s, word.x + 4u);
                let f = code_words(s, word.y + 4u);
                let g = code_words(s, word.z + 4u);
                let h = code_words(s, word.w + 4u);
                let at = x + (panel + i) * quads;
                p = plus_words(plus_words(p, at, a, b, c, d), at + quads / 2u, e, f, g, h);
            }
            terms[place(i)] = p.sum.x;
            terms[place(i + PANEL)] = p.sum.y;
            terms[place(i + 2u * PANEL)] = p.sum.z;
            terms[place(i + 3u * PANEL)] = p.sum.w;
        }
        tops[place(local)] = p.top.x;
        tops[place(local + ALL)] = p.top.y;
        tops[place(local + 2u * ALL)] = p.top.z;
        tops[place(local + 3u * ALL)] = p.top.w;
        workgroupBarrier();
        // Eight chunks of an output for each invocation.
        var own = 0.0lf;
        for (var i = 8u * mate; i < 8u * mate + 8u; i += 1u) {
            own = own + terms[place(mine * PANEL + i)];
        }
        var at = sum + before(own, local);
        for (var i = 8u * mate; i < min(8u * mate + 8u, chunks - panel); i += 1u) {
            let top = joined(0u, bitcast<u32>(tops[place(mine * ALL + i % ALL)]) + 1u);
            let most = joined(0u, high((abs(at) + top) * 1.000001lf) & 0x7ff00000u);
            let run = f64(4u * quads);
            slack = slack + (run * most + (run + 29.0lf) * top);
            at = at + terms[place(mine * PANEL + i)];
        }
        sum = sum + whole(local);
        workgroupBarrier();
    }
    let unused_too = before(slack, local);
    // Rounding the ends of the interval counts for four steps.
    slack = HALF_ULP * (whole(local) + 4.0lf * abs(sum));
    if (mate == 0u) {
        let o = min(first + mine, outs - 1u);
        let bias = shift(arg(5u), o);
        let proved = narrow((sum - slack) + bias) == narrow((sum + slack) + bias) && arg(6u) != 0xffu;
        let finite = slack < 1e300lf && abs(sum) < 1e300lf;
        if (first + mine >= outs) {
            slack = -1.0lf;
        } else if (proved && finite) {
            put(o, sum);
            slack = -1.0lf;
        } else {
            // Enough for what `in_order` adds up in another order, too.
            slack = select(infinity(), 32.0lf * slack, finite);
        }
        slacks[mine] = slack;
    }
    for (var i = 0u; i < OUTS; i += 1u) {
        let left = workgroupUniformLoad(&slacks[i]);
        if (left >= 0.0lf) {
            in_order(s, first + i, left, local);
        }
    }
}
