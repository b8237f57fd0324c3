// Linear interpolation. Arguments: x, y, how many axes, then for each, the fastest first: its extent, and the table of
// two places and two weights (real) for each of its positions.

@compute @workgroup_size(64)
fn resize(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let axes = arg(2u);
    var sum = real(0.0);
    for (var corner = 0u; corner < (1u << axes); corner += 1u) {
        var rest = i;
        var at = 0u;
        var weight = real(1.0);
        for (var axis = 0u; axis < axes; axis += 1u) {
            let extent = arg(3u + 2u * axis);
            let entry = arg(4u + 2u * axis) + 6u * (rest % extent);
            let side = (corner >> axis) & 1u;
            rest = rest / extent;
            at += bits(entry + side);
            weight = wide(entry + 2u + 2u * side) * weight;
        }
        sum = sum + load(arg(0u) + rest * arg(3u + 2u * axes) + at) * weight;
    }
    store(arg(1u) + i, sum);
}
