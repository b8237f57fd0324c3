// f32(x + skip). Arguments: x, skip, y.

@compute @workgroup_size(64)
fn residual(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    store(arg(2u) + i, load(arg(0u) + i) + load(arg(1u) + i));
}
