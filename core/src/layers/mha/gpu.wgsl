// Attention between its projections, which dense/gpu.wgsl makes.

/// Norm and rotation of one head of one position, into its place among keys, values or queries.
/// Arguments: source, destination, heads, elements of a head, gain, its step from head to head,
/// eps (real), table of cosines and sines, positions here, positions there, first of them there.
@compute @workgroup_size(64)
fn mha_place(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let heads = arg(2u);
    let e = arg(3u);
    let row = i / heads;
    let h = i % heads;
    let seq = arg(9u);
    let s = row % seq;
    let src = arg(0u) + i * e;
    let dst = arg(1u) + ((row / seq * arg(10u) + arg(11u) + s) * heads + h) * e;
    if (arg(4u) == NONE) {
        for (var c = 0u; c < e; c += 1u) {
            set_bits(dst + c, bits(src + c));
        }
    } else {
        let r = rms_of(src, e, wide_arg(6u));
        for (var c = 0u; c < e; c += 1u) {
            store(dst + c, load(src + c) / r * wide(arg(4u) + 2u * (h * arg(5u) + c)));
        }
    }
    if (arg(8u) != NONE) {
        let half = e / 2u;
        for (var c = 0u; c < half; c += 1u) {
            let turn = arg(8u) + 2u * (s * half + c);
            let x = load(dst + c);
            let y = load(dst + half + c);
            let cosine = load(turn);
            let sine = load(turn + 1u);
            store(dst + c, x * cosine - y * sine);
            store(dst + half + c, x * sine + y * cosine);
        }
    }
}

/// f32(q k / sqrt(e)) of every query with every position.
/// Arguments: q, k, scores, heads, key heads, elements of a head, queries, positions, sqrt(e) (real).
@compute @workgroup_size(64)
fn mha_scores(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let heads = arg(3u);
    let kv_heads = arg(4u);
    let e = arg(5u);
    let seq = arg(6u);
    let positions = arg(7u);
    let p = i % positions;
    let s = (i / positions) % seq;
    let h = (i / (positions * seq)) % heads;
    let b = i / (positions * seq * heads);
    let q = arg(0u) + ((b * seq + s) * heads + h) * e;
    let k = arg(1u) + ((b * positions + p) * kv_heads + h / (heads / kv_heads)) * e;
    var sum = real(0.0);
    var c = 0u;
    while (c + 4u <= e && ((q | k) & 3u) == 0u) {
        let t = load4(q + c) * load4(k + c);
        sum = sum + t.x;
        sum = sum + t.y;
        sum = sum + t.z;
        sum = sum + t.w;
        c += 4u;
    }
    while (c < e) {
        sum = sum + load(q + c) * load(k + c);
        c += 1u;
    }
    store(arg(2u) + i, sum / wide_arg(8u));
}

/// The positions that query `s` sees: from, to. Arguments from `at` on: causal, past, window or 0.
fn seen(at: u32, s: u32, positions: u32) -> vec2<u32> {
    var end = positions;
    if (arg(at) == 1u) {
        end = arg(at + 1u) + s + 1u;
    }
    let window = arg(at + 2u);
    return vec2<u32>(select(0u, end - window, window != 0u && end > window), end);
}

/// Softmax over what each query sees. Arguments: scores, queries, positions, causal, past, window.
@compute @workgroup_size(64)
fn mha_softmax(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let positions = arg(2u);
    let range = seen(3u, i % arg(1u), positions);
    softmax_row(arg(0u) + i * positions + range.x, range.y - range.x);
}

/// The mixture of values, four elements of a head to an invocation. Arguments: scores, v, y, heads, value heads, elements of a head, queries,
/// positions, causal, past, window.
@compute @workgroup_size(64)
fn mha_mix(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let heads = arg(3u);
    let kv_heads = arg(4u);
    let e = arg(5u);
    let seq = arg(6u);
    let positions = arg(7u);
    let quads = (e + 3u) / 4u;
    let c = i % quads * 4u;
    let h = (i / quads) % heads;
    let s = (i / (quads * heads)) % seq;
    let b = i / (quads * heads * seq);
    let range = seen(8u, s, positions);
    let scores = arg(0u) + ((b * heads + h) * seq + s) * positions;
    let v = arg(1u) + (b * positions * kv_heads + h / (heads / kv_heads)) * e + c;
    let y = arg(2u) + ((b * seq + s) * heads + h) * e + c;
    if ((e & 3u) == 0u) {
        var sum = real4();
        for (var p = range.x; p < range.y; p += 1u) {
            sum = sum + load(scores + p) * load4(v + p * kv_heads * e);
        }
        store(y, sum.x);
        store(y + 1u, sum.y);
        store(y + 2u, sum.z);
        store(y + 3u, sum.w);
        return;
    }
    for (var j = 0u; j < min(4u, e - c); j += 1u) {
        var sum = real(0.0);
        for (var p = range.x; p < range.y; p += 1u) {
            sum = sum + load(scores + p) * load(v + j + p * kv_heads * e);
        }
        store(y + j, sum);
    }
}
