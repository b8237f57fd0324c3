// Numbers as rows with a one. Arguments: x, y, classes.

@compute @workgroup_size(64)
fn onehot(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let classes = arg(2u);
    let v = load(arg(0u) + i / classes);
    let class_ = i % classes;
    let hit = v > real(-1.0) && v < real(classes) && u32(max(v, real(0.0))) == class_;
    set_bits(arg(1u) + i, select(0u, 0x3f800000u, hit));
}
