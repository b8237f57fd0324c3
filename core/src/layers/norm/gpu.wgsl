// Row norms, one invocation to a row.
// Arguments: x, y, elements of a row, eps (real), gamma, beta, 1 where 1 is added to gamma.

@compute @workgroup_size(64)
fn rmsnorm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let n = arg(2u);
    let x = arg(0u) + i * n;
    let r = rms_of(x, n, wide_arg(3u));
    for (var k = 0u; k < n; k += 1u) {
        var gain = wide(arg(5u) + 2u * k);
        if (arg(7u) == 1u) {
            gain = gain + real(1.0);
        }
        store(arg(1u) + i * n + k, load(x + k) / r * gain);
    }
}

@compute @workgroup_size(64)
fn layernorm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let n = arg(2u);
    let x = arg(0u) + i * n;
    let m = moments_of(x, n, wide_arg(3u));
    for (var k = 0u; k < n; k += 1u) {
        store(arg(1u) + i * n + k, (load(x + k) - m.mean) / m.spread * wide(arg(5u) + 2u * k) + shift(arg(6u), k));
    }
}
