// Rows of length one. Arguments: x, y, elements of a row, eps (real), whether eps is added under the root.

@compute @workgroup_size(64)
fn l2norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let n = arg(2u);
    let x = arg(0u) + i * n;
    let eps = wide_arg(3u);
    let squares = squares_of(x, n);
    var length = real(0.0);
    if (arg(5u) == 1u) {
        length = sqrt(squares + eps);
    } else {
        length = sqrt(squares);
        if (length < eps) {
            length = eps;
        }
    }
    for (var k = 0u; k < n; k += 1u) {
        store(arg(1u) + i * n + k, load(x + k) / length);
    }
}
