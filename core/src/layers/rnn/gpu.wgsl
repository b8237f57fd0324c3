// h = act(z), the activation being argument 7, four hidden units to an invocation: scan.wgsl.

/// The gate rows of a unit of work.
fn rows_of(unit: u32) -> vec4<u32> {
    return min(vec4<u32>(4u * unit) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(arg(2u) - 1u));
}

fn cell(z: real4, first: bool, b: u32, h: u32, unit: u32) {
    for (var j = 0u; j < min(4u, arg(2u) - 4u * unit); j += 1u) {
        set_bits(h + 4u * unit + j, activate(arg(7u), narrow(z[j])));
    }
}

@compute @workgroup_size(128)
fn rnn(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let unused = begin(group, groups, 0u);
    scan(group, groups, local, (arg(2u) + 3u) / 4u);
}
