// Means, sums and extremes over some axes, one invocation to an output.
// Arguments: x, y, operation, elements of an output, the walk over them, where the walk over outputs stands, that.

@compute @workgroup_size(64)
fn reduce(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let start = arg(0u) + place(i, arg(4u));
    let n = arg(3u);
    var sum = real(0.0);
    var most = load(start);
    for (var k = 0u; k < n; k += 1u) {
        let v = load(start + place(k, 5u));
        switch arg(2u) {
            case 2u: {
                if (!is_nan(most) && !(most >= v)) {
                    most = v;
                }
            }
            case 3u: {
                if (!is_nan(most) && !(most <= v)) {
                    most = v;
                }
            }
            default: {
                sum = sum + v;
            }
        }
    }
    switch arg(2u) {
        case 0u: {
            store(arg(1u) + i, sum / real(n));
        }
        case 1u: {
            store(arg(1u) + i, sum);
        }
        default: {
            store(arg(1u) + i, most);
        }
    }
}
