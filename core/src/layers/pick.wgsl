// Elements of another array, axis by axis. Arguments: x, y, what stands where nothing is picked, how many axes, then
// the extent and the table of each, the fastest first.

@compute @workgroup_size(64)
fn pick(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    var rest = i;
    var at = 0u;
    var outside = false;
    for (var axis = 0u; axis < arg(3u); axis += 1u) {
        let extent = arg(4u + 2u * axis);
        let step = bits(arg(5u + 2u * axis) + rest % extent);
        rest = rest / extent;
        outside = outside || step == NONE;
        at += step;
    }
    if (outside) {
        set_bits(arg(1u) + i, arg(2u));
    } else {
        set_bits(arg(1u) + i, bits(arg(0u) + at));
    }
}
