// c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c), one hidden unit to an invocation:
// rnn/scan.wgsl.

/// The gate rows of a unit of work: i, f, g, o.
fn rows_of(unit: u32) -> vec4<u32> {
    return vec4<u32>(unit) + vec4<u32>(0u, 1u, 2u, 3u) * arg(2u);
}

fn cell(z: real4, first: bool, b: u32, h: u32, unit: u32) {
    let c = arg(7u) + b * arg(2u) + unit;
    var before = real(0.0);
    if (!first) {
        before = load(c);
    }
    store(c, sigmoid_of(z.y) * before + sigmoid_of(z.x) * tanh_of(z.z));
    store(h + unit, sigmoid_of(z.w) * tanh_of(load(c)));
}

@compute @workgroup_size(128)
fn lstm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let unused = begin(group, groups, 0u);
    scan(group, groups, local, arg(2u));
}
