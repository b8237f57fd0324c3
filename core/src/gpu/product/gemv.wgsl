// One row of x with many outputs, whose bits are those of the CPU's sum, k ascending, rounded at every
// step. Products of two f32 are exact in f64. A subgroup sums four outputs in another order, and
// proves that it makes no difference; where the proof fails, about once in ten thousand outputs, the
// workgroup looks at every step, `is_proved`, or finds what the CPU's order gives, `in_order`.
//
// The proof: a step of the CPU's sum errs by at most 2^-53 of the partial sum that it makes (Higham,
// 2002, 2.2), which in a chunk of elements is at most the sum before the chunk and the largest
// partial sum of the chunk alone. Our own sum errs likewise: within chunks, in a lane at every
// chunk, and six times over the lanes. Sums before chunks are known in f32, whose roundings are
// counted with SLIP. With a bound on both, all numbers within it of our sum must be the same f32.
//
// Weights are taken as w 2^-896, whose bits are those of the f32 moved apart, and x as x 2^896, which
// makes what is not finite infinite. Arguments: those of gpu.wgsl.

/// Outputs of a subgroup at a time and of a workgroup; invocations of a workgroup.
const AT_ONCE: u32 = 4u;
const OUTS: u32 = 32u;
const ALL: u32 = 256u;
/// Words of codes in a chunk.
const CHUNK: u32 = 8u;
/// Elements that `in_order` takes at a time, of a stretch, and stretches.
const SEGMENT: u32 = 2048u;
const STRETCH: u32 = 32u;
const STRETCHES: u32 = 64u;

/// 2^896, and 1.02 times 2^-53.
const LIFT: f64 = 5.282945311356653e+269lf;
const HALF_ULP: f64 = 1.1324274851176597e-16lf;
/// What a sum of subgroups of up to 64 lanes may err in f32, of the magnitudes in it.
const SLIP: f32 = 4e-6;

// Of these, all together, two workgroups must find room at a time: 24 KiB each on an H200.
/// Products of a segment, eight apart from eight others, so that invocations do not meet in one bank.
var<workgroup> terms: array<f64, 2304>;
var<workgroup> runs: array<f64, 272>;
/// What a stretch adds to a sum, by its last two bits; infinite where that is not known.
var<workgroup> gains: array<vec4<f64>, 64>;
var<workgroup> state: f64;
/// Outputs that are not proved, and how far their sums may lie from the CPU's.
var<workgroup> unproved: atomic<u32>;
var<workgroup> left: u32;
var<workgroup> slacks: array<f64, 32>;
var<workgroup> proved: u32;

/// f32 bits as that number times 2^-896.
fn lifted(b: u32) -> f64 {
    return joined(b << 29u, bitcast<u32>(bitcast<i32>(b) >> 3u) & 0x8fffffffu);
}

/// The upper half of a number.
fn high(v: f64) -> u32 {
    return u32(bitcast<u64>(v) >> 32u);
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

/// Sums of a chunk of each output, and the upper half of the largest magnitude of any such sum so
/// far. As f32 such halves have the order of magnitudes.
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

fn put(o: u32, sum: f64) {
    let at = arg(8u) + o;
    if (arg(6u) == 0xffu) {
        set_wide(arg(4u) + 2u * at, sum);
    } else {
        set_bits(arg(4u) + at, activate(arg(6u), narrow(sum + shift(arg(5u), o))));
    }
}

/// What the lane that differs in the bits of `reach` has.
fn exchanged(v: f64, reach: u32) -> f64 {
    let b = bitcast<u64>(v);
    return joined(subgroupShuffleXor(u32(b & 0xfffffffflu), reach), subgroupShuffleXor(u32(b >> 32u), reach));
}

/// The sums over all lanes.
fn over_lanes(v: vec4<f64>, lanes: u32) -> vec4<f64> {
    var sum = v;
    for (var reach = 1u; reach < lanes; reach *= 2u) {
        sum = sum + vec4<f64>(exchanged(sum.x, reach), exchanged(sum.y, reach), exchanged(sum.z, reach), exchanged(sum.w, reach));
    }
    return sum;
}

/// Stores an output where its sum, which lies within `2^-53 bound` of the CPU's, is proved to be good;
/// leaves it to `in_order` elsewhere. One lane does.
fn settle(r: u32, o: u32, sum: f64, bound: f32, top: f32) {
    // Rounding the ends of the interval counts for four steps.
    let slack = HALF_ULP * (f64(bound) + 4.0lf * abs(sum));
    let bias = shift(arg(5u), o);
    // Beyond these ends something may have been flushed, or is not finite.
    let sound = (bound > 1e-30 && bound < 1e30 && abs(sum) < 1e30lf) || top == 0.0;
    if (sound && arg(6u) != 0xffu && narrow((sum - slack) + bias) == narrow((sum + slack) + bias)) {
        put(o, sum);
    } else {
        // Enough for what is added up in other orders from here on, too.
        slacks[r] = select(infinity(), 32.0lf * slack, sound);
        atomicOr(&unproved, 1u << r);
    }
}

/// The sum over those before, of sixteen neighbours and of sixteens.
fn before(own: f64, i: u32) -> f64 {
    runs[i] = own;
    workgroupBarrier();
    let start = i & 0xfffffff0u;
    var sum = 0.0lf;
    for (var j = start; j < i; j += 1u) {
        sum = sum + runs[j];
    }
    if ((i & 15u) == 15u) {
        runs[ALL + i / 16u] = sum + own;
    }
    workgroupBarrier();
    var more = 0.0lf;
    for (var j = 0u; j < i / 16u; j += 1u) {
        more = more + runs[ALL + j];
    }
    return more + sum;
}

/// Half an ulp of what lies within `slack` of the sum of `sum` and a term, where that may be rounded; 0
/// where it is exact: where the term and whatever lies within `slack` of `sum` are multiples of the ulp.
fn doubt(sum: f64, term: f64, slack: f64) -> f64 {
    let binade = high(abs(sum + term) + slack) & 0x7ff00000u;
    // Its ulp is the one in question, and what is added to it is rounded to a multiple.
    let grid = joined(0u, binade | 0x80000u);
    let is_exact = (term + grid) - grid == term && binade <= high(max(abs(sum) - slack, 0.0lf));
    return select(HALF_ULP * joined(0u, binade), 0.0lf, is_exact);
}

/// Proves an output by the errors of all its steps, and stores it, where it can be done: short codes
/// leave most products so few places that hardly a step errs.
///
/// Every invocation goes through a run of elements from a sum near the CPU's, summed in the same order.
/// The end of a run differs from the start of the next by little, so that the gap is exact; all gaps
/// make the sum. It and the CPU's are wrong by the doubts at most.
fn is_proved(s: Store, o: u32, slack: f64, local: u32) -> bool {
    let x = arg(3u);
    let depth = arg(2u);
    let run = (depth + 4u * ALL - 1u) / (4u * ALL) * 4u;
    let first = min(local * run, depth);
    let last = min(first + run, depth);
    var own = 0.0lf;
    for (var k = first; k < last; k += 4u) {
        let four = load4(x + k) * weight4(s, o * depth + k);
        own = (((own + four.x) + four.y) + four.z) + four.w;
    }
    let start = before(own, local);
    terms[local] = start;
    var sum = start;
    var doubts = 0.0lf;
    for (var k = first; k < last; k += 4u) {
        let four = load4(x + k) * weight4(s, o * depth + k);
        for (var j = 0u; j < 4u; j += 1u) {
            doubts = doubts + doubt(sum, four[j], slack);
            sum = sum + four[j];
        }
    }
    workgroupBarrier();
    let gap = sum - select(terms[min(local + 1u, ALL - 1u)], 0.0lf, local == ALL - 1u);
    let whole = before(gap, local) + gap;
    let all = before(doubts, local) + doubts;
    if (local == ALL - 1u) {
        // Rounding the last sum and the ends of the interval counts for eight steps. Gaps, of at most twice
        // the slack, and their sums are rounded near 0 alone.
        let error = 2.1lf * all + HALF_ULP * (8.0lf * abs(whole) + 32768.0lf * slack);
        let bias = shift(arg(5u), o);
        proved = select(0u, 1u, narrow((whole - error) + bias) == narrow((whole + error) + bias));
        if (proved == 1u) {
            put(o, whole);
        }
    }
    return workgroupUniformLoad(&proved) == 1u;
}

/// Eight terms of a stretch.
struct Eight {
    a: vec4<f64>,
    b: vec4<f64>,
}

/// Not by an index, for which some compilers take memory.
fn put_four(at: u32, four: vec4<f64>) {
    terms[at] = four.x;
    terms[at + 1u] = four.y;
    terms[at + 2u] = four.z;
    terms[at + 3u] = four.w;
}

fn eight(stretch: u32, i: u32) -> Eight {
    let at = (stretch * 4u + i) * 9u;
    return Eight(
        vec4<f64>(terms[at], terms[at + 1u], terms[at + 2u], terms[at + 3u]),
        vec4<f64>(terms[at + 4u], terms[at + 5u], terms[at + 6u], terms[at + 7u]),
    );
}

fn plus_eight(sum: f64, e: Eight) -> f64 {
    return (((((((sum + e.a.x) + e.a.y) + e.a.z) + e.a.w) + e.b.x) + e.b.y) + e.b.z) + e.b.w;
}

/// A sum on its way through a stretch; whether it is known to round as its neighbours do.
struct Course {
    sum: f64,
    known: bool,
}

fn plus_term(c: Course, term: f64, slack: f64, limit: u32) -> Course {
    let sum = c.sum + term;
    let binade = high(sum + slack) >> 20u;
    return Course(sum, c.known && high(sum - slack) >> 20u == binade && (binade & 0x7ffu) <= limit);
}

/// Runs a stretch from a sum near its own whose last two bits are `residue`: what it adds.
///
/// Let u be the ulp of the start, and let no sum of the stretch come within `slack` of a power of two,
/// of 0, or beyond the binade after that of the start. Then a sum that starts within `slack` of it, a
/// multiple of 4 u away, goes through the same binades, whose ulps divide 2 u, and is rounded the
/// same way at every step, ties to even included: it keeps its distance.
fn gain(stretch: u32, near: f64, residue: u32, slack: f64) -> f64 {
    let start = bitcast<f64>((bitcast<u64>(near) & 0xfffffffffffffffclu) | u64(residue));
    let limit = ((high(start) >> 20u) & 0x7ffu) + 1u;
    var c = Course(start, high(start - slack) >> 20u == high(start + slack) >> 20u);
    for (var i = 0u; i < 4u; i += 1u) {
        let e = eight(stretch, i);
        c = plus_term(c, e.a.x, slack, limit);
        c = plus_term(c, e.a.y, slack, limit);
        c = plus_term(c, e.a.z, slack, limit);
        c = plus_term(c, e.a.w, slack, limit);
        c = plus_term(c, e.b.x, slack, limit);
        c = plus_term(c, e.b.y, slack, limit);
        c = plus_term(c, e.b.z, slack, limit);
        c = plus_term(c, e.b.w, slack, limit);
    }
    let gained = c.sum - start;
    // A sum that fell far below its start has places that the difference cannot hold.
    return select(infinity(), gained, c.known && start + gained == c.sum);
}

/// The sum after a segment: from stretch to stretch, and from term to term where a stretch is not known.
fn walked(before: f64, stretches: u32) -> f64 {
    var sum = before;
    var next = gains[0];
    for (var i = 0u; i < stretches; i += 1u) {
        let some = next;
        next = gains[min(i + 1u, STRETCHES - 1u)];
        let last = u32(bitcast<u64>(sum) & 3lu);
        let one = select(select(some.x, some.y, last == 1u), select(some.z, some.w, last == 3u), last >= 2u);
        if (abs(one) < infinity()) {
            sum = sum + one;
        } else {
            sum = plus_eight(sum, eight(i, 0u));
            sum = plus_eight(sum, eight(i, 1u));
            sum = plus_eight(sum, eight(i, 2u));
            sum = plus_eight(sum, eight(i, 3u));
        }
    }
    return sum;
}

/// The sum of an output as the CPU makes it: the invocations find out what each stretch adds to any
/// sum near the one that it will meet, then one of them goes from stretch to stretch.
fn in_order(s: Store, o: u32, slack: f64, local: u32) {
    let x = arg(3u);
    let depth = arg(2u);
    if (local == 0u) {
        state = 0.0lf;
    }
    for (var first = 0u; first < depth; first += SEGMENT) {
        for (var i = local; i < SEGMENT / 8u; i += ALL) {
            let k = first + 8u * i;
            var a = vec4<f64>();
            var b = vec4<f64>();
            if (k < depth) {
                a = load4(x + k) * weight4(s, o * depth + k);
                b = load4(x + k + 4u) * weight4(s, o * depth + k + 4u);
            }
            put_four(9u * i, a);
            put_four(9u * i + 4u, b);
        }
        workgroupBarrier();
        let stretch = local % STRETCHES;
        var own = vec4<f64>();
        for (var i = 0u; i < 4u; i += 1u) {
            let e = eight(stretch, i);
            own = own + (e.a + e.b);
        }
        let near = state + before((own.x + own.y) + (own.z + own.w), stretch);
        for (var residue = local / STRETCHES; residue < 4u; residue += ALL / STRETCHES) {
            gains[stretch][residue] = gain(stretch, near, residue, slack);
        }
        workgroupBarrier();
        if (local == 0u) {
            state = walked(state, min(STRETCHES, (depth - first) / STRETCH));
        }
        workgroupBarrier();
    }
    if (local == 0u) {
        put(o, state);
    }
}

@compute @workgroup_size(256)
fn gemv(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_size) lanes: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let unused = begin(group, groups, 0u);
    let first = (group.y * groups.x + group.x) * OUTS;
    let outs = arg(1u);
    if (first >= outs) {
        return;
    }
    if (local == 0u) {
        atomicStore(&unproved, 0u);
    }
    workgroupBarrier();
    let s = store_at(9u);
    let row_words = arg(2u) >> s.log_per_word;
    let chunks = row_words / CHUNK;
    let steps = (chunks + lanes - 1u) / lanes;
    let x = (base + arg(3u)) >> 2u;
    let quads = select(2u, 4u, is_short());
    for (var r = AT_ONCE * subgroup; r < OUTS && first + r < outs; r += AT_ONCE * (ALL / lanes)) {
        let o = min(vec4<u32>(first + r) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(outs - 1u));
        var p = Partial();
        var sum = vec4<f64>();
        var together = vec4<f32>();
        var prefixes = vec4<f32>();
        // All lanes take as many steps.
        for (var step = 0u; step < steps; step += 1u) {
            let chunk = step * lanes + lane;
            p.sum = vec4<f64>();
            if (chunk < chunks) {
                let word = o * row_words + chunk * CHUNK;
                let a = code_words(s, word.x);
                let b = code_words(s, word.y);
                let c = code_words(s, word.z);
                let d = code_words(s, word.w);
                let e = code_words(s, word.x + 4u);
                let f = code_words(s, word.y + 4u);
                let g = code_words(s, word.z + 4u);
                let h = code_words(s, word.w + 4u);
                let at = x + chunk * quads;
                p = plus_words(plus_words(p, at, a, b, c, d), at + quads / 2u, e, f, g, h);
            }
            sum = sum + p.sum;
            let own = vec4<f32>(p.sum);
            let until = together + subgroupInclusiveAdd(own);
            prefixes = prefixes + abs(until - own);
            together = subgroupShuffle(until, lanes - 1u);
        }
        let whole = over_lanes(sum, lanes);
        let tops = bitcast<vec4<u32>>(p.top) + 1u;
        let top = vec4<f32>(vec4<f64>(joined(0u, tops.x), joined(0u, tops.y), joined(0u, tops.z), joined(0u, tops.w)));
        let run = f32(4u * quads);
        let slips = SLIP * f32(chunks);
        let bound = subgroupAdd(prefixes * run + top * (f32(steps) * run * (2.0 + slips + f32(steps + 6u) / run)));
        let highest = subgroupMax(p.top);
        if (lane < AT_ONCE && first + r + lane < outs) {
            settle(r + lane, first + r + lane, whole[lane], bound[lane], highest[lane]);
        }
    }
    workgroupBarrier();
    if (local == 0u) {
        left = atomicLoad(&unproved);
    }
    for (var rest = workgroupUniformLoad(&left); rest != 0u; rest &= rest - 1u) {
        let r = firstTrailingBit(rest);
        let is_known = is_short() && slacks[r] < infinity() && arg(6u) != 0xffu;
        if (!(is_known && is_proved(s, first + r, slacks[r], local))) {
            in_order(s, first + r, slacks[r], local);
        }
    }
}
