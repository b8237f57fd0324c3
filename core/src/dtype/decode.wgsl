// A vector of weights (gain, shift, bias) as `real`, which layers read many times.
// Arguments: destination, store.

@compute @workgroup_size(64)
fn decode(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    set_wide(arg(0u) + 2u * i, weight(store_at(1u), i));
}
