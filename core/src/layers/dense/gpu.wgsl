// y[r, o] = act(f32(sum over k of x[r, k] w[o, k] + bias[o])), k ascending. One invocation makes
// four rows of one output, so that a weight is decoded once for them.
// Arguments: rows, outputs, depth, x, y, bias, activation, outputs of a row of y, first of them; store.
// An activation of WIDE asks for the sums themselves.

const WIDE: u32 = 0xffu;
const DENSE_STORE: u32 = 9u;

fn dense_put(r: u32, o: u32, sum: Sum) {
    let at = r * arg(7u) + arg(8u) + o;
    let v = total(sum, DENSE_STORE);
    if (arg(6u) == WIDE) {
        set_wide(arg(4u) + 2u * at, v);
    } else {
        set_bits(arg(4u) + at, activate(arg(6u), narrow(v + shift(arg(5u), o))));
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
    let o = i % outs;
    let r = (i / outs) * 4u;
    let last = rows - 1u;
    let x0 = arg(3u) + r * depth;
    let x1 = arg(3u) + min(r + 1u, last) * depth;
    let x2 = arg(3u) + min(r + 2u, last) * depth;
    let x3 = arg(3u) + min(r + 3u, last) * depth;
    var s0 = no_sum();
    var s1 = no_sum();
    var s2 = no_sum();
    var s3 = no_sum();
    for (var k = 0u; k < depth; k += 1u) {
        let w = weight(DENSE_STORE, o * depth + k);
        s0 = plus(s0, load(x0 + k), w);
        s1 = plus(s1, load(x1 + k), w);
        s2 = plus(s2, load(x2 + k), w);
        s3 = plus(s3, load(x3 + k), w);
    }
    dense_put(r, o, s0);
    if (r + 1u < rows) {
        dense_put(r + 1u, o, s1);
    }
    if (r + 2u < rows) {
        dense_put(r + 2u, o, s2);
    }
    if (r + 3u < rows) {
        dense_put(r + 3u, o, s3);
    }
}
