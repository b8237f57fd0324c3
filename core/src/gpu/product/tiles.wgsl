// y[r, o] = act(f32(sum over k of x[r, k] w[o, k] + bias[o])), k ascending. One invocation makes
// four outputs of four rows.
// Arguments: rows, outputs, depth, x, y, bias, activation, outputs of a row of y, first of them; store.
// An activation of WIDE asks for the sums themselves.

const WIDE: u32 = 0xffu;
fn dense_put(r: u32, o: u32, sums: real4) {
    let at = r * arg(7u) + arg(8u) + o;
    for (var j = 0u; j < min(4u, arg(1u) - o); j += 1u) {
        if (arg(6u) == WIDE) {
            set_wide(arg(4u) + 2u * (at + j), sums[j]);
        } else {
            set_bits(arg(4u) + at + j, activate(arg(6u), narrow(sums[j] + shift(arg(5u), o + j))));
        }
    }
}

@compute @workgroup_size(64)
fn dense(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let rows = arg(0u);
    let outs = arg(1u);
    let depth = arg(2u);
    let quads = (outs + 3u) / 4u;
    let o = i % quads * 4u;
    let r = i / quads * 4u;
    let four = vec4<u32>(0u, 1u, 2u, 3u);
    // Rows and outputs beyond the last are the last once more, and are not stored.
    let x = vec4<u32>(arg(3u)) + min(vec4<u32>(r) + four, vec4<u32>(rows - 1u)) * depth;
    let w = min(vec4<u32>(o) + four, vec4<u32>(outs - 1u)) * depth;
    let s = store_at(9u);
    let tile = tile_of(x, s, w, depth);
    dense_put(r, o, totals(tile.a, s));
    if (r + 1u < rows) {
        dense_put(r + 1u, o, totals(tile.b, s));
    }
    if (r + 2u < rows) {
        dense_put(r + 2u, o, totals(tile.c, s));
    }
    if (r + 3u < rows) {
        dense_put(r + 3u, o, totals(tile.d, s));
    }
}
