// A gated recurrent unit over time, one workgroup to four samples, one hidden unit to an invocation. Each step has two
// turns: r and z of all units, then the new states; products of h, or of r h, lie in the second.
// Arguments: samples, steps, hidden, gate rows, sums over x (real), bias, recurrent bias, y, z (scratch), r h or r (scratch),
// whether r acts before the product; store.

const WIDE_SCAN: u32 = 128u;

/// The sum over x of a gate row of one sample at one step.
fn of_x(b: u32, t: u32, row: u32) -> real {
    return wide(arg(4u) + 2u * ((b * arg(1u) + t) * arg(3u) + row));
}

/// The state before step `t`, 0 before the first.
fn state(b: u32, t: u32, unit: u32) -> real {
    if (t == 0u) {
        return real(0.0);
    }
    return load(arg(7u) + (b * arg(1u) + t - 1u) * arg(2u) + unit);
}

/// A sum rounded once.
fn once(v: real) -> real {
    return widen(narrow(v));
}

fn open_gates(b: u32, t: u32, unit: u32, sums: real4) {
    if (b >= arg(0u)) {
        return;
    }
    let hidden = arg(2u);
    let r = sigmoid_of(once((of_x(b, t, unit) + sums.x) + shift(arg(5u), unit)));
    let z = sigmoid_of(once((of_x(b, t, hidden + unit) + sums.y) + shift(arg(5u), hidden + unit)));
    let at = 2u * (b * hidden + unit);
    set_wide(arg(8u) + at, z);
    if (arg(10u) == 1u) {
        store(arg(9u) + b * hidden + unit, r * state(b, t, unit));
    } else {
        set_wide(arg(9u) + at, r);
    }
}

fn renew(b: u32, t: u32, unit: u32, sum: real) {
    if (b >= arg(0u)) {
        return;
    }
    let hidden = arg(2u);
    let row = 2u * hidden + unit;
    let at = 2u * (b * hidden + unit);
    let z = wide(arg(8u) + at);
    var rest = sum;
    if (arg(10u) == 0u) {
        rest = wide(arg(9u) + at) * once(sum + shift(arg(6u), unit));
    }
    let n = tanh_of(once((of_x(b, t, row) + rest) + shift(arg(5u), row)));
    store(arg(7u) + (b * arg(1u) + t) * hidden + unit, (real(1.0) - z) * n + z * state(b, t, unit));
}

@compute @workgroup_size(128)
fn gru(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let unused = begin(group, groups, 0u);
    let first = 4u * (group.y * groups.x + group.x);
    if (first >= arg(0u)) {
        return;
    }
    let steps = arg(1u);
    let hidden = arg(2u);
    let s = store_at(11u);
    let samples = min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(arg(0u) - 1u));
    for (var t = 0u; t < steps; t += 1u) {
        let before = vec4<u32>(arg(7u)) + (samples * steps + vec4<u32>(t - 1u)) * hidden;
        for (var unit = local; unit < hidden; unit += WIDE_SCAN) {
            var tile = Tile(no_sum4(), no_sum4(), no_sum4(), no_sum4());
            if (t > 0u) {
                tile = tile_of(before, s, (vec4<u32>(unit) + vec4<u32>(0u, 1u, 1u, 1u) * hidden) * hidden, hidden);
            }
            open_gates(first, t, unit, totals(tile.a, s));
            open_gates(first + 1u, t, unit, totals(tile.b, s));
            open_gates(first + 2u, t, unit, totals(tile.c, s));
            open_gates(first + 3u, t, unit, totals(tile.d, s));
        }
        storageBarrier();
        for (var unit = local; unit < hidden; unit += WIDE_SCAN) {
            var tile = Tile(no_sum4(), no_sum4(), no_sum4(), no_sum4());
            if (t > 0u) {
                let reset = vec4<u32>(arg(9u)) + samples * hidden;
                let rows = select(before, reset, vec4<bool>(arg(10u) == 1u));
                tile = tile_of(rows, s, vec4<u32>((2u * hidden + unit) * hidden), hidden);
            }
            renew(first, t, unit, totals(tile.a, s).x);
            renew(first + 1u, t, unit, totals(tile.b, s).x);
            renew(first + 2u, t, unit, totals(tile.c, s).x);
            renew(first + 3u, t, unit, totals(tile.d, s).x);
        }
        storageBarrier();
    }
}
