// Soft assignment to centres.

/// Logits. Arguments: x, y, features, centres, 2 T^2 (real); store.
@compute @workgroup_size(64)
fn kmeans_logits(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let d = arg(2u);
    let row = arg(0u) + i / arg(3u) * d;
    let center = i % arg(3u) * d;
    let s = store_at(6u);
    var distance = real(0.0);
    for (var k = 0u; k < d; k += 1u) {
        let delta = load(row + k) - weight(s, center + k);
        distance = distance + delta * delta;
    }
    store(arg(1u) + i, -distance / wide_arg(4u));
}

/// Softmax of each row. Arguments: logits, centres, activation.
@compute @workgroup_size(64)
fn kmeans_assign(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let n = arg(1u);
    softmax_row(arg(0u) + i * n, n);
    for (var k = 0u; k < n; k += 1u) {
        let at = arg(0u) + i * n + k;
        set_bits(at, activate(arg(2u), bits(at)));
    }
}

/// The mixture of centres. Arguments: assignments, y, features, centres, activation; store.
@compute @workgroup_size(64)
fn kmeans_mix(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let d = arg(2u);
    let s = store_at(5u);
    var mix = real(0.0);
    for (var k = 0u; k < arg(3u); k += 1u) {
        mix = mix + load(arg(0u) + i / d * arg(3u) + k) * weight(s, k * d + i % d);
    }
    set_bits(arg(1u) + i, activate(arg(4u), narrow(mix)));
}
