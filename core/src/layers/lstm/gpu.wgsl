// c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c): rnn/scan.wgsl.

fn cell(first: bool, z: u32, hidden: u32, c: u32, h: u32) {
    var before = real(0.0);
    if (!first) {
        before = load(c);
    }
    let i = load(z);
    let f = load(z + hidden);
    let g = load(z + 2u * hidden);
    let o = load(z + 3u * hidden);
    store(c, sigmoid_of(f) * before + sigmoid_of(i) * tanh_of(g));
    store(h, sigmoid_of(o) * tanh_of(load(c)));
}

@compute @workgroup_size(128)
fn lstm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    scan(group, groups, local);
}
