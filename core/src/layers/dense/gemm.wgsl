// Many rows with many outputs: a workgroup makes 64 of each, an invocation four by four, from tiles
// that are widened and decoded once. k ascends in every sum. Arguments: those of gpu.wgsl.

const SIDE: u32 = 64u;
const DEEP: u32 = 16u;

var<workgroup> tile_rows: array<vec2<real>, 512>;
var<workgroup> tile_outs: array<vec2<real>, 512>;

/// s + x w. Where w needs no more digits than f32 has, the product is exact and may be fused.
fn accumulated(x: real, w: real4, s: real4) -> real4 {
    if (RULE == DOUBLE || RULE == LONG_FULL || RULE == LONGER_FULL) {
        return s + x * w;
    }
    return real4(fma(x, w.x, s.x), fma(x, w.y, s.y), fma(x, w.z, s.z), fma(x, w.w, s.w));
}

@compute @workgroup_size(256)
fn gemm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let unused = begin(group, groups, 0u);
    let rows = arg(0u);
    let outs = arg(1u);
    let depth = arg(2u);
    let across = (outs + SIDE - 1u) / SIDE;
    let block = group.y * groups.x + group.x;
    let r0 = block / across * SIDE;
    let o0 = block % across * SIDE;
    if (r0 >= rows) {
        return;
    }
    let s = store_at(9u);
    let ty = local / 16u;
    let tx = local % 16u;
    // Each invocation brings four elements of a row, and of an output, in.
    let row = local / 4u;
    let k4 = local % 4u * 4u;
    let x = arg(3u) + min(r0 + row, rows - 1u) * depth;
    let w = min(o0 + row, outs - 1u) * depth;
    let aligned = ((depth | arg(3u)) & 3u) == 0u;
    var a = real4();
    var b = real4();
    var c = real4();
    var d = real4();
    for (var k0 = 0u; k0 < depth; k0 += DEEP) {
        var xs = real4();
        var ws = real4();
        let k = k0 + k4;
        if (aligned && k + 4u <= depth) {
            xs = load4(x + k);
            ws = weight4(s, w + k);
        } else {
            for (var j = 0u; j < 4u; j += 1u) {
                if (k + j < depth) {
                    xs[j] = load(x + k + j);
                    ws[j] = weight(s, w + k + j);
                }
            }
        }
        workgroupBarrier();
        for (var j = 0u; j < 4u; j += 1u) {
            tile_rows[(k4 + j) * 32u + row / 2u][row % 2u] = xs[j];
            tile_outs[(k4 + j) * 32u + row / 2u][row % 2u] = ws[j];
        }
        workgroupBarrier();
        for (var j = 0u; j < min(DEEP, depth - k0); j += 1u) {
            let p = tile_rows[j * 32u + 2u * ty];
            let q = tile_rows[j * 32u + 2u * ty + 1u];
            let u = tile_outs[j * 32u + 2u * tx];
            let v = tile_outs[j * 32u + 2u * tx + 1u];
            let column = real4(u.x, u.y, v.x, v.y);
            a = accumulated(p.x, column, a);
            b = accumulated(p.y, column, b);
            c = accumulated(q.x, column, c);
            d = accumulated(q.y, column, d);
        }
    }
    gemm_put(r0 + 4u * ty, o0 + 4u * tx, a);
    gemm_put(r0 + 4u * ty + 1u, o0 + 4u * tx, b);
    gemm_put(r0 + 4u * ty + 2u, o0 + 4u * tx, c);
    gemm_put(r0 + 4u * ty + 3u, o0 + 4u * tx, d);
}

fn gemm_put(r: u32, o: u32, sums: real4) {
    for (var j = 0u; r < arg(0u) && j < 4u && o + j < arg(1u); j += 1u) {
        let at = r * arg(7u) + arg(8u) + o + j;
        if (arg(6u) == 0xffu) {
            set_wide(arg(4u) + 2u * at, sums[j]);
        } else {
            set_bits(arg(4u) + at, activate(arg(6u), narrow(sums[j] + shift(arg(5u), o + j))));
        }
    }
}
