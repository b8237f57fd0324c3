// Many rows with many outputs: a workgroup makes 128 by 64, an invocation eight by four, from tiles
// that are widened and decoded once and brought in one ahead. k ascends in every sum. There are two
// tiles in turn, so that some invocations fill one while others still use the other.
// Arguments: those of gpu.wgsl.

const TALL: u32 = 128u;
const BROAD: u32 = 64u;
const DEEP: u32 = 8u;

/// Pairs of neighbouring rows by place in k, tile by tile; pairs of outputs.
var<workgroup> tile_rows: array<vec2<real>, 1024>;
var<workgroup> tile_outs: array<vec2<real>, 512>;

/// s + x w. Where w needs no more digits than f32 has, the product is exact and may be fused.
fn accumulated(x: real, w: real4, s: real4) -> real4 {
    if (RULE == DOUBLE || RULE == LONG_FULL || RULE == LONGER_FULL) {
        return s + x * w;
    }
    return real4(fma(x, w.x, s.x), fma(x, w.y, s.y), fma(x, w.z, s.z), fma(x, w.w, s.w));
}

/// Four elements of a row of x from `k` on, zeros beyond `n`, as their bits, which take less room.
fn bits_of_x(x: u32, k: u32, n: u32, aligned: bool) -> vec4<u32> {
    if (aligned && k + 4u <= n) {
        return arena[(base + x + k) >> 2u];
    }
    var v = vec4<u32>();
    for (var j = 0u; j < 4u && k + j < n; j += 1u) {
        v[j] = bits(x + k + j);
    }
    return v;
}

/// Two weights of an output.
fn some_w(s: Store, w: u32, k: u32, n: u32) -> vec2<real> {
    var v = vec2<real>();
    if (k < n) {
        v.x = weight(s, w + k);
    }
    if (k + 1u < n) {
        v.y = weight(s, w + k + 1u);
    }
    return v;
}

@compute @workgroup_size(256)
fn gemm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let unused = begin(group, groups, 0u);
    let rows = arg(0u);
    let outs = arg(1u);
    let depth = arg(2u);
    let across = (outs + BROAD - 1u) / BROAD;
    let block = group.y * groups.x + group.x;
    let r0 = block / across * TALL;
    let o0 = block % across * BROAD;
    if (r0 >= rows) {
        return;
    }
    let s = store_at(9u);
    let ty = local / 16u;
    let tx = local % 16u;
    // Each invocation brings in four elements of a row, and two weights of an output. Neighbours take
    // neighbouring rows, so that they do not meet in one bank.
    let row = local % TALL;
    let kx = local / TALL * 4u;
    let out = local % BROAD;
    let kw = local / BROAD * 2u;
    let x = arg(3u) + min(r0 + row, rows - 1u) * depth;
    let w = min(o0 + out, outs - 1u) * depth;
    let aligned = ((depth | arg(3u)) & 3u) == 0u;
    var a = real4();
    var b = real4();
    var c = real4();
    var d = real4();
    var e = real4();
    var f = real4();
    var g = real4();
    var h = real4();
    var xs = bits_of_x(x, kx, depth, aligned);
    var ws = some_w(s, w, kw, depth);
    var tile = 0u;
    for (var k0 = 0u; k0 < depth; k0 += DEEP) {
        tile_rows[tile * 512u + kx * 64u + row / 2u][row % 2u] = widen(xs.x);
        tile_rows[tile * 512u + (kx + 1u) * 64u + row / 2u][row % 2u] = widen(xs.y);
        tile_rows[tile * 512u + (kx + 2u) * 64u + row / 2u][row % 2u] = widen(xs.z);
        tile_rows[tile * 512u + (kx + 3u) * 64u + row / 2u][row % 2u] = widen(xs.w);
        tile_outs[tile * 256u + kw * 32u + out / 2u][out % 2u] = ws.x;
        tile_outs[tile * 256u + (kw + 1u) * 32u + out / 2u][out % 2u] = ws.y;
        workgroupBarrier();
        if (k0 + DEEP < depth) {
            xs = bits_of_x(x, k0 + DEEP + kx, depth, aligned);
            ws = some_w(s, w, k0 + DEEP + kw, depth);
        }
        // Beyond the depth there are zeros, which change no sum: none is -0.
        for (var j = 0u; j < DEEP; j += 1u) {
            let p = tile_rows[tile * 512u + j * 64u + 4u * ty];
            let q = tile_rows[tile * 512u + j * 64u + 4u * ty + 1u];
            let t = tile_rows[tile * 512u + j * 64u + 4u * ty + 2u];
            let z = tile_rows[tile * 512u + j * 64u + 4u * ty + 3u];
            // Outputs tx, tx + 16, …: pairs of neighbours are read at once.
            let u = tile_outs[tile * 256u + j * 32u + tx];
            let v = tile_outs[tile * 256u + j * 32u + 16u + tx];
            let column = real4(u.x, u.y, v.x, v.y);
            a = accumulated(p.x, column, a);
            b = accumulated(p.y, column, b);
            c = accumulated(q.x, column, c);
            d = accumulated(q.y, column, d);
            e = accumulated(t.x, column, e);
            f = accumulated(t.y, column, f);
            g = accumulated(z.x, column, g);
            h = accumulated(z.y, column, h);
        }
        tile = 1u - tile;
    }
    let r = r0 + 8u * ty;
    let o = o0 + 2u * tx;
    gemm_put(r, o, a);
    gemm_put(r + 1u, o, b);
    gemm_put(r + 2u, o, c);
    gemm_put(r + 3u, o, d);
    gemm_put(r + 4u, o, e);
    gemm_put(r + 5u, o, f);
    gemm_put(r + 6u, o, g);
    gemm_put(r + 7u, o, h);
}

/// Outputs o, o + 1, o + 32 and o + 33 of a row.
fn gemm_put(r: u32, o: u32, sums: real4) {
    gemm_one(r, o, sums.x);
    gemm_one(r, o + 1u, sums.y);
    gemm_one(r, o + 32u, sums.z);
    gemm_one(r, o + 33u, sums.w);
}

fn gemm_one(r: u32, o: u32, sum: real) {
    if (r >= arg(0u) || o >= arg(1u)) {
        return;
    }
    let at = r * arg(7u) + arg(8u) + o;
    if (arg(6u) == 0xffu) {
        set_wide(arg(4u) + 2u * at, sum);
    } else {
        set_bits(arg(4u) + at, activate(arg(6u), narrow(sum + shift(arg(5u), o))));
    }
}
