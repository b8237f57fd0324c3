// Softmax layers, one invocation to a row.
// Arguments: x, y, elements of a row, temperature (real), variant, columns of the grid, its
// elements, noise (real) or mask, length of the mask, sparse share and its rest (real).

/// The threshold of the projection onto the simplex, found by taking elements in descending order.
fn sparse_threshold(x: u32, n: u32) -> real {
    var sum = real(0.0);
    var threshold = real(0.0);
    var taken = 0u;
    var bound = infinity();
    while (taken < n) {
        var most = -infinity();
        var count = 0u;
        for (var k = 0u; k < n; k += 1u) {
            let v = load(x + k);
            if (v < bound) {
                if (v > most) {
                    most = v;
                    count = 1u;
                } else if (v == most) {
                    count += 1u;
                }
            }
        }
        if (count == 0u) {
            return threshold;
        }
        for (var c = 0u; c < count; c += 1u) {
            taken += 1u;
            let k = real(taken);
            if (most - (sum + most - real(1.0)) / k <= real(0.0)) {
                return threshold;
            }
            sum = sum + most;
            threshold = (sum - real(1.0)) / k;
        }
        bound = most;
    }
    return threshold;
}

fn sparse(v: real, threshold: real) -> u32 {
    let d = v - threshold;
    return select(0u, narrow(d), d > real(0.0));
}

@compute @workgroup_size(64)
fn softmax(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let n = arg(2u);
    let x = arg(0u) + i * n;
    let y = arg(1u) + i * n;
    for (var k = 0u; k < n; k += 1u) {
        store(y + k, load(x + k) / wide_arg(3u));
    }
    switch arg(5u) {
        case 1u: { // grid
            let used = arg(7u);
            for (var at = 0u; at < used; at += arg(6u)) {
                softmax_row(y + at, min(arg(6u), used - at));
            }
            for (var k = used; k < n; k += 1u) {
                set_bits(y + k, 0u);
            }
        }
        case 2u: { // gumbel
            for (var k = 0u; k < n; k += 1u) {
                store(y + k, load(y + k) + wide(arg(8u) + 2u * (i * n + k)));
            }
            softmax_row(y, n);
        }
        case 3u: { // masked
            for (var k = 0u; k < min(n, arg(9u)); k += 1u) {
                if (bits(arg(8u) + k) == 0u) {
                    store(y + k, real(-1e9));
                }
            }
            softmax_row(y, n);
        }
        case 4u: { // sparse
            let threshold = sparse_threshold(y, n);
            for (var k = 0u; k < n; k += 1u) {
                set_bits(y + k, sparse(load(y + k), threshold));
            }
        }
        case 5u: { // entmax
            let threshold = sparse_threshold(y, n);
            let most = max_of(y, n);
            let sum = sum_of_exps(y, n, most);
            var all = real(0.0);
            for (var k = 0u; k < n; k += 1u) {
                let v = load(y + k);
                all = all + (wide_arg(12u) * widen(soft(v, n, most, sum)) + wide_arg(10u) * widen(sparse(v, threshold)));
            }
            for (var k = 0u; k < n; k += 1u) {
                let v = load(y + k);
                store(y + k, (wide_arg(12u) * widen(soft(v, n, most, sum)) + wide_arg(10u) * widen(sparse(v, threshold))) / all);
            }
        }
        case 6u: { // log
            let most = max_of(y, n);
            let log_sum = ln_of(sum_of_exps(y, n, most));
            for (var k = 0u; k < n; k += 1u) {
                store(y + k, load(y + k) - most - log_sum);
            }
        }
        default: {
            softmax_row(y, n);
        }
    }
}
