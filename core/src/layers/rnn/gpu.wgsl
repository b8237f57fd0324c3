// h = tanh(z): scan.wgsl.

fn cell(first: bool, z: u32, hidden: u32, c: u32, h: u32) {
    store(h, tanh_of(load(z)));
}

@compute @workgroup_size(128)
fn rnn(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    scan(group, groups, local);
}
