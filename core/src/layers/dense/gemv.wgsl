// One row of x with many outputs, a subgroup to four of them. The CPU adds k ascending and rounds at
// every step; here lanes add in another order, and then prove that it makes no difference: both sums
// lie so near the true one that they round to the same f32. Where the proof fails, a few times in a
// hundred thousand outputs, the subgroup adds again in the CPU's order.
//
// The CPU's sum errs by at most u times the sum of the magnitudes of its partial sums, u = 2^-53
// (Higham, 2002, 4.2). A partial sum is a prefix over whole steps of the subgroup, which is measured,
// and at most the magnitudes of the terms since; a lane's own sum errs likewise.
//
// Weights are taken as w 2^-896, whose bits are those of the f32 moved apart, and x as x 2^895: exact
// powers of two, so that no sum is rounded otherwise. Arguments: those of gpu.wgsl.

/// Outputs of a subgroup at a time, and of a workgroup.
const AT_ONCE: u32 = 4u;
const OUTS: u32 = 8u;
/// Invocations of a workgroup.
const ALL: u32 = 64u;

/// 2^895, and 1.01 u.
const X_SCALE: f64 = 2.6414726556783262e+269lf;
const U: f64 = 1.1213252548714079e-16lf;

/// f32 bits as that number times 2^-896.
fn lifted(b: u32) -> f64 {
    return joined(b << 29u, (b & 0x80000000u) | ((b >> 3u) & 0x0fffffffu));
}

/// Codes that a lane takes at a step.
fn per_step() -> u32 {
    if (RULE == HALF || RULE == BFLOAT) {
        return 8u;
    }
    return 4u;
}

/// The first or the second four of a lane's codes as f32 bits.
fn four(c: vec4<u32>, second: bool) -> vec4<u32> {
    if (RULE == SINGLE) {
        return c;
    }
    let words = select(c.xy, c.zw, second);
    if (RULE == BFLOAT) {
        return vec4<u32>(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u);
    }
    return bitcast<vec4<u32>>(vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y)));
}

/// What a lane knows of one output.
struct Lane {
    /// Half of its sum.
    sum: f64,
    /// Magnitudes of its terms.
    terms: f32,
    /// Magnitudes of its own sum after each step, and of all lanes' together.
    own: f32,
    together: f32,
}

fn more(lane: Lane, x: vec4<f64>, size: vec4<f32>, b: vec4<u32>) -> Lane {
    // Products are exact, so that it makes no difference whether they are fused.
    var sum = fma(x.x, lifted(b.x), lane.sum);
    sum = fma(x.y, lifted(b.y), sum);
    sum = fma(x.z, lifted(b.z), sum);
    sum = fma(x.w, lifted(b.w), sum);
    let w = abs(bitcast<vec4<f32>>(b));
    let terms = fma(size.x, w.x, fma(size.y, w.y, fma(size.z, w.z, fma(size.w, w.w, lane.terms))));
    return Lane(sum, terms, lane.own, lane.together);
}

fn stepped(lane: Lane) -> Lane {
    let p = f32(lane.sum);
    return Lane(lane.sum, lane.terms, lane.own + abs(p), lane.together + abs(subgroupAdd(p)));
}

var<private> lanes: u32;

/// The sum over lanes, which all of them get.
fn all_of(v: f64) -> f64 {
    let b = bitcast<u64>(v);
    var sum = 0.0lf;
    for (var i = 0u; i < lanes; i += 1u) {
        sum = sum + joined(subgroupShuffle(u32(b & 0xfffffffflu), i), subgroupShuffle(u32(b >> 32u), i));
    }
    return sum;
}

/// Output `o`: the bits of its f32, by proof or by adding again.
fn settled(mine: Lane, s: Store, o: u32, x: u32, depth: u32, lane: u32) -> u32 {
    let half = all_of(mine.sum);
    let step = f32(lanes * per_step());
    let terms = subgroupAdd(mine.terms);
    // Terms count for the partial sums that come after them in their step.
    let later = subgroupAdd(mine.terms * (step - f32(lane * per_step())));
    let bound = step * mine.together
        + 0.5 * later
        + f32(per_step()) * subgroupAdd(mine.own)
        + f32(lanes) * subgroupAdd(abs(f32(mine.sum)));
    let e = f64(bound) * U;
    let bias = shift(arg(5u), o);
    let low = narrow((half - e) * 2.0lf + bias);
    let high = narrow((half + e) * 2.0lf + bias);
    // Where magnitudes may have been flushed or are not finite, nothing is proved.
    if (low == high && terms > 1e-18 && terms < 1e30 && bound < 1e36) {
        return low;
    }
    var sum = 0.0lf;
    for (var k = 0u; k < depth; k += lanes) {
        let b = bitcast<u64>(load(x + k + lane) * weight(s, o * depth + k + lane));
        for (var i = 0u; i < lanes; i += 1u) {
            sum = sum + joined(subgroupShuffle(u32(b & 0xfffffffflu), i), subgroupShuffle(u32(b >> 32u), i));
        }
    }
    return narrow(sum + bias);
}

@compute @workgroup_size(64)
fn gemv(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_size) size: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let unused = begin(group, groups, 0u);
    lanes = size;
    let outs = arg(1u);
    let depth = arg(2u);
    let x = arg(3u);
    let first = (group.y * groups.x + group.x) * OUTS;
    let s = store_at(9u);
    let row_words = depth >> s.log_per_word;
    let per = per_step();
    for (var r = AT_ONCE * subgroup; r < OUTS && first + r < outs; r += AT_ONCE * (ALL / lanes)) {
        let o = min(vec4<u32>(first + r) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(outs - 1u));
        let row = o * row_words;
        let none = Lane(0.0lf, 0.0, 0.0, 0.0);
        var a = none;
        var b = none;
        var c = none;
        var d = none;
        // All lanes take as many steps, which the compiler has to see.
        for (var step = 0u; step < depth / (per * lanes); step += 1u) {
            let k = (step * lanes + lane) * per;
            let word = k >> s.log_per_word;
            let wa = code_words(s, row.x + word);
            let wb = code_words(s, row.y + word);
            let wc = code_words(s, row.z + word);
            let wd = code_words(s, row.w + word);
            let x0 = arena[(base + x + k) >> 2u];
            let y0 = widen4(x0) * X_SCALE;
            let z0 = abs(bitcast<vec4<f32>>(x0));
            a = more(a, y0, z0, four(wa, false));
            b = more(b, y0, z0, four(wb, false));
            c = more(c, y0, z0, four(wc, false));
            d = more(d, y0, z0, four(wd, false));
            if (per == 8u) {
                let x1 = arena[(base + x + k + 4u) >> 2u];
                let y1 = widen4(x1) * X_SCALE;
                let z1 = abs(bitcast<vec4<f32>>(x1));
                a = more(a, y1, z1, four(wa, true));
                b = more(b, y1, z1, four(wb, true));
                c = more(c, y1, z1, four(wc, true));
                d = more(d, y1, z1, four(wd, true));
            }
            a = stepped(a);
            b = stepped(b);
            c = stepped(c);
            d = stepped(d);
        }
        let ya = settled(a, s, o.x, x, depth, lane);
        let yb = settled(b, s, o.y, x, depth, lane);
        let yc = settled(c, s, o.z, x, depth, lane);
        let yd = settled(d, s, o.w, x, depth, lane);
        if (lane < AT_ONCE && first + r + lane < outs) {
            let y = select(select(ya, yb, lane == 1u), select(yc, yd, lane == 3u), lane >= 2u);
            set_bits(arg(4u) + arg(8u) + first + r + lane, activate(arg(6u), y));
        }
    }
}
