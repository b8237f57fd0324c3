// One row of x with many outputs. Sums run with k ascending, as everywhere, so that one invocation
// makes one output; the whole workgroup brings its codes in, a tile ahead.
//
// Weights come as w 2^-896, whose bits are those of the f32 moved apart, and x as x 2^895: exact
// powers of two, so that no sum is rounded otherwise. Arguments: those of gpu.wgsl.

/// Outputs of a workgroup, elements of a tile, and quadruples of words from one row of it to the next.
const OUTS: u32 = 32u;
const STEP: u32 = 128u;
const PITCH: u32 = 33u;

/// 2^895.
const X_SCALE: f64 = 2.6414726556783262e+269lf;

var<workgroup> tile_words: array<vec4<u32>, 1056>;
var<workgroup> tile_x: array<vec2<f64>, 64>;

/// Words that STEP codes of this type take.
fn step_words() -> u32 {
    if (RULE == HALF || RULE == BFLOAT) {
        return STEP / 2u;
    }
    return STEP;
}

/// f32 bits as that number times 2^-896.
fn lifted(b: u32) -> f64 {
    return joined(b << 29u, (b & 0x80000000u) | ((b >> 3u) & 0x0fffffffu));
}

/// Four weights from words of a tile.
fn lifted4(row: u32, k: u32) -> vec4<f64> {
    if (RULE == HALF || RULE == BFLOAT) {
        let both = tile_words[row + k / 8u];
        let words = select(both.xy, both.zw, (k & 4u) != 0u);
        if (RULE == BFLOAT) {
            return vec4<f64>(lifted(words.x << 16u), lifted(words.x & 0xffff0000u), lifted(words.y << 16u), lifted(words.y & 0xffff0000u));
        }
        let a = unpack2x16float(words.x);
        let b = unpack2x16float(words.y);
        return vec4<f64>(
            lifted(bitcast<u32>(a.x)),
            lifted(bitcast<u32>(a.y)),
            lifted(bitcast<u32>(b.x)),
            lifted(bitcast<u32>(b.y)),
        );
    }
    let words = tile_words[row + k / 4u];
    return vec4<f64>(lifted(words.x), lifted(words.y), lifted(words.z), lifted(words.w));
}

@compute @workgroup_size(256)
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
    // Eight invocations bring one row in: each every eighth quadruple of words.
    let row = local / 8u;
    let o = min(first + row, outs - 1u);
    let row_words = o * (depth >> s.log_per_word);
    let quads = step_words() / 4u;
    let per = quads / 8u;
    let tiles = depth / STEP;
    var ahead: array<vec4<u32>, 4>;
    for (var j = 0u; j < per; j += 1u) {
        ahead[j] = code_words(s, row_words + 4u * (local % 8u + 8u * j));
    }
    var ahead_x = vec2<f64>();
    if (local < STEP / 2u) {
        ahead_x = vec2<f64>(load(x + 2u * local), load(x + 2u * local + 1u)) * X_SCALE;
    }
    var sum = 0.0lf;
    for (var tile = 0u; tile < tiles; tile += 1u) {
        for (var j = 0u; j < per; j += 1u) {
            tile_words[row * PITCH + local % 8u + 8u * j] = ahead[j];
        }
        if (local < STEP / 2u) {
            tile_x[local] = ahead_x;
        }
        workgroupBarrier();
        let next = tile + 1u;
        if (next < tiles) {
            for (var j = 0u; j < per; j += 1u) {
                ahead[j] = code_words(s, row_words + next * step_words() + 4u * (local % 8u + 8u * j));
            }
            if (local < STEP / 2u) {
                let at = x + next * STEP + 2u * local;
                ahead_x = vec2<f64>(load(at), load(at + 1u)) * X_SCALE;
            }
        }
        if (local < OUTS) {
            let mine = local * PITCH;
            for (var k = 0u; k < STEP; k += 16u) {
                for (var q = 0u; q < 16u; q += 4u) {
                    let w = lifted4(mine, k + q);
                    let a = tile_x[(k + q) / 2u];
                    let b = tile_x[(k + q) / 2u + 1u];
                    // Products are exact, so that it makes no difference whether they are fused.
                    sum = fma(a.x, w.x, sum);
                    sum = fma(a.y, w.y, sum);
                    sum = fma(b.x, w.z, sum);
                    sum = fma(b.y, w.w, sum);
                }
            }
        }
        workgroupBarrier();
    }
    if (local < OUTS && first + local < outs) {
        let at = arg(8u) + first + local;
        let v = sum * 2.0lf;
        if (arg(6u) == 0xffu) {
            set_wide(arg(4u) + 2u * at, v);
        } else {
            set_bits(arg(4u) + at, activate(arg(6u), narrow(v + shift(arg(5u), first + local))));
        }
    }
}
