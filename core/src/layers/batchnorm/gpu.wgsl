// Batch norm by kept statistics. Arguments: x, y, eps (real), mean, variance, gain, shift, how they are repeated.

@compute @workgroup_size(64)
fn batchnorm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let at = place(i, 8u);
    var v = (load(arg(0u) + i) - wide(arg(4u) + 2u * at)) / sqrt(wide(arg(5u) + 2u * at) + wide_arg(2u));
    if (arg(6u) != NONE) {
        v = v * wide(arg(6u) + 2u * at);
    }
    store(arg(1u) + i, v + shift(arg(7u), at));
}
