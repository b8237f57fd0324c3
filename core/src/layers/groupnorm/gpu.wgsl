// Group norm, one invocation to a group of channels of a sample.
// Arguments: x, y, channels, channels of a group, positions, eps (real), gain, shift.

@compute @workgroup_size(64)
fn groupnorm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let together = arg(3u);
    let positions = arg(4u);
    let n = together * positions;
    let start = i * n;
    let first = (i * together) % arg(2u);
    let m = moments_of(arg(0u) + start, n, wide_arg(5u));
    for (var k = 0u; k < n; k += 1u) {
        let c = first + k / positions;
        var v = (load(arg(0u) + start + k) - m.mean) / m.spread;
        if (arg(7u) != NONE) {
            v = v * wide(arg(7u) + 2u * c);
        }
        store(arg(1u) + start + k, v + shift(arg(8u), c));
    }
}
