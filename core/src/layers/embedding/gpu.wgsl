// Rows of a table, by ids that are truncated toward zero. A piece of a table that is too large for
// one binding writes the rows that it has; the first writes the zeros of unknown ids.
// Arguments: ids, y, width, rows of the table, first and last row of the piece, activation; store.

@compute @workgroup_size(64)
fn embedding(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let width = arg(2u);
    let id = load(arg(0u) + i / width);
    let known = id > real(-1.0) && id < real(arg(3u));
    var row = 0u;
    if (known && id > real(0.0)) {
        row = u32(id);
    }
    if (known && row >= arg(4u) && row < arg(5u)) {
        let w = weight(store_at(7u), (row - arg(4u)) * width + i % width);
        set_bits(arg(1u) + i, activate(arg(6u), narrow(w)));
    } else if (!known && arg(4u) == 0u) {
        set_bits(arg(1u) + i, activate(arg(6u), 0u));
    }
}
