// How branches become one.

/// Rows of one branch into their place. Arguments: source, destination, elements of a row there and
/// here, first of them.
@compute @workgroup_size(64)
fn parallel_place(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let width = arg(3u);
    set_bits(arg(1u) + i / width * arg(2u) + arg(4u) + i % width, bits(arg(0u) + i));
}

/// The softmax of the gate's first outputs. Arguments: gate, weights, outputs of the gate, branches.
@compute @workgroup_size(64)
fn parallel_gate(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let n = arg(3u);
    for (var k = 0u; k < n; k += 1u) {
        set_bits(arg(1u) + i * n + k, bits(arg(0u) + i * arg(2u) + k));
    }
    softmax_row(arg(1u) + i * n, n);
}

/// Sum, mean or weighted sum over branches. Arguments: list of branches, how many, y, divisor,
/// weights, elements of a sample.
@compute @workgroup_size(64)
fn parallel_sum(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let n = arg(1u);
    var sum = real(0.0);
    for (var k = 0u; k < n; k += 1u) {
        let v = load(bits(arg(0u) + k) + i);
        if (arg(4u) == NONE) {
            sum = sum + v;
        } else {
            sum = sum + load(arg(4u) + i / arg(5u) * n + k) * v;
        }
    }
    store(arg(2u) + i, sum / real(arg(3u)));
}

// f64 products of branches in their order, rounded once. Arguments: list of branches, how many, y.

@compute @workgroup_size(64)
fn parallel_product(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    var v = real(1.0);
    for (var k = 0u; k < arg(1u); k += 1u) {
        v = v * load(bits(arg(0u) + k) + i);
    }
    store(arg(2u) + i, v);
}
