// f32(x gain + shift). Arguments: x, y, gain, shift, how they are repeated.

@compute @workgroup_size(64)
fn affine(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let at = place(i, 4u);
    var v = load(arg(0u) + i);
    if (arg(2u) != NONE) {
        v = v * wide(arg(2u) + 2u * at);
    }
    store(arg(1u) + i, v + shift(arg(3u), at));
}
