// One row of x with many outputs. Sums run with k ascending, as everywhere, so that one invocation
// makes one output: the last 32 of a workgroup do nothing else. The other 256 bring codes in, four
// tiles ahead, and make products, which are exact in f64.
//
// Weights are taken as w 2^-896, whose bits are those of the f32 moved apart, and x as x 2^895: exact
// powers of two, so that no sum is rounded otherwise. Arguments: those of gpu.wgsl.

/// Outputs of a workgroup, elements of a tile, those that make products, and where the second tile stands.
const OUTS: u32 = 32u;
const STEP: u32 = 64u;
const MAKERS: u32 = 256u;
const OTHER: u32 = 1024u;

/// 2^895.
const X_SCALE: f64 = 2.6414726556783262e+269lf;

var<workgroup> products: array<vec2<f64>, 2048>;

/// Where two products stand; outputs change places so that writers do not meet in one bank.
fn place(buffer: u32, pair: u32, o: u32) -> u32 {
    return buffer + pair * OUTS + (o ^ ((pair >> 1u) & 7u));
}

/// f32 bits as that number times 2^-896.
fn lifted(b: u32) -> f64 {
    return joined(b << 29u, (b & 0x80000000u) | ((b >> 3u) & 0x0fffffffu));
}

/// Whether codes are half as wide as f32.
fn is_short() -> bool {
    return RULE == HALF || RULE == BFLOAT;
}

/// Two codes of a word as f32 bits.
fn pair(word: u32) -> vec2<u32> {
    if (RULE == BFLOAT) {
        return vec2<u32>(word << 16u, word & 0xffff0000u);
    }
    return bitcast<vec2<u32>>(unpack2x16float(word));
}

/// Makes the products of two codes with two elements of x, and puts them at a place of a tile.
fn make(buffer: u32, at: u32, o: u32, x: vec2<u32>, codes_of: vec2<u32>) {
    let a = widen(x.x) * X_SCALE;
    let b = widen(x.y) * X_SCALE;
    products[place(buffer, at, o)] = vec2<f64>(a * lifted(codes_of.x), b * lifted(codes_of.y));
}

/// What one invocation brings of one tile: eight codes of 16 bits, or four and four that are 32
/// elements on; and the elements of x that they meet.
struct Brought {
    a: vec4<u32>,
    b: vec4<u32>,
    x: vec4<u32>,
    y: vec4<u32>,
}

fn bring(s: Store, row: u32, x: u32, q: u32, tile: u32, tiles: u32) -> Brought {
    let t = min(tile, tiles - 1u);
    let at = base + x + t * STEP;
    if (is_short()) {
        let codes_of = code_words(s, row + t * 32u + 4u * q);
        return Brought(codes_of, vec4<u32>(), arena[(at + 8u * q) >> 2u], arena[(at + 8u * q + 4u) >> 2u]);
    }
    return Brought(
        code_words(s, row + t * 64u + 4u * q),
        code_words(s, row + t * 64u + 32u + 4u * q),
        arena[(at + 4u * q) >> 2u],
        arena[(at + 32u + 4u * q) >> 2u],
    );
}

fn put(buffer: u32, q: u32, o: u32, c: Brought) {
    if (is_short()) {
        make(buffer, 4u * q, o, c.x.xy, pair(c.a.x));
        make(buffer, 4u * q + 1u, o, c.x.zw, pair(c.a.y));
        make(buffer, 4u * q + 2u, o, c.y.xy, pair(c.a.z));
        make(buffer, 4u * q + 3u, o, c.y.zw, pair(c.a.w));
    } else {
        make(buffer, 2u * q, o, c.x.xy, c.a.xy);
        make(buffer, 2u * q + 1u, o, c.x.zw, c.a.zw);
        make(buffer, 2u * q + 16u, o, c.y.xy, c.b.xy);
        make(buffer, 2u * q + 17u, o, c.y.zw, c.b.zw);
    }
}

/// The sum with a tile of products more.
fn summed(before: f64, buffer: u32, o: u32) -> f64 {
    var sum = before;
    for (var k = 0u; k < STEP / 2u; k += 8u) {
        let a = products[place(buffer, k, o)];
        let b = products[place(buffer, k + 1u, o)];
        let c = products[place(buffer, k + 2u, o)];
        let d = products[place(buffer, k + 3u, o)];
        let e = products[place(buffer, k + 4u, o)];
        let f = products[place(buffer, k + 5u, o)];
        let g = products[place(buffer, k + 6u, o)];
        let h = products[place(buffer, k + 7u, o)];
        sum = (((sum + a.x) + a.y) + b.x) + b.y;
        sum = (((sum + c.x) + c.y) + d.x) + d.y;
        sum = (((sum + e.x) + e.y) + f.x) + f.y;
        sum = (((sum + g.x) + g.y) + h.x) + h.y;
    }
    return sum;
}

@compute @workgroup_size(288)
fn gemv(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let unused = begin(group, groups, 0u);
    let first = (group.y * groups.x + group.x) * OUTS;
    let outs = arg(1u);
    let depth = arg(2u);
    let x = arg(3u);
    if (first >= outs) {
        return;
    }
    let s = store_at(9u);
    let makes = local < MAKERS;
    let q = local % 8u;
    let o = min(local / 8u, OUTS - 1u);
    let row = min(first + o, outs - 1u) * (depth >> s.log_per_word);
    let tiles = depth / STEP;
    let lane = local % 32u;
    var c0 = bring(s, row, x, q, 0u, tiles);
    var c1 = bring(s, row, x, q, 1u, tiles);
    var c2 = bring(s, row, x, q, 2u, tiles);
    var c3 = bring(s, row, x, q, 3u, tiles);
    if (makes) {
        put(0u, q, o, c0);
        c0 = bring(s, row, x, q, 4u, tiles);
    }
    workgroupBarrier();
    var sum = 0.0lf;
    // Four tiles to a round, so that no array of codes is indexed.
    for (var tile = 0u; tile < tiles; tile += 4u) {
        if (makes) {
            put(OTHER, q, o, c1);
            c1 = bring(s, row, x, q, tile + 5u, tiles);
        } else {
            sum = summed(sum, 0u, lane);
        }
        workgroupBarrier();
        if (makes) {
            put(0u, q, o, c2);
            c2 = bring(s, row, x, q, tile + 6u, tiles);
        } else {
            sum = summed(sum, OTHER, lane);
        }
        workgroupBarrier();
        if (makes) {
            put(OTHER, q, o, c3);
            c3 = bring(s, row, x, q, tile + 7u, tiles);
        } else {
            sum = summed(sum, 0u, lane);
        }
        workgroupBarrier();
        if (makes) {
            if (tile + 4u < tiles) {
                put(0u, q, o, c0);
                c0 = bring(s, row, x, q, tile + 8u, tiles);
            }
        } else {
            sum = summed(sum, OTHER, lane);
        }
        workgroupBarrier();
    }
    if (!makes && first + lane < outs) {
        let at = arg(8u) + first + lane;
        let v = sum * 2.0lf;
        if (arg(6u) == 0xffu) {
            set_wide(arg(4u) + 2u * at, v);
        } else {
            set_bits(arg(4u) + at, activate(arg(6u), narrow(v + shift(arg(5u), first + lane))));
        }
    }
}
