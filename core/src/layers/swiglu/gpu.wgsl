// f32(g sigmoid(g) u), between projections that dense/gpu.wgsl makes. Arguments: g, u, y.

@compute @workgroup_size(64)
fn swiglu(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let g = load(arg(0u) + i);
    store(arg(2u) + i, g * sigmoid_of(g) * load(arg(1u) + i));
}
