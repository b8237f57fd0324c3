// x, or f32(slope x) below zero. Arguments: x, y, slopes, how they are repeated.

@compute @workgroup_size(64)
fn prelu(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let b = bits(arg(0u) + i);
    let v = widen(b);
    if (v < real(0.0)) {
        store(arg(1u) + i, v * wide(arg(2u) + 2u * place(i, 3u)));
    } else {
        set_bits(arg(1u) + i, b);
    }
}
