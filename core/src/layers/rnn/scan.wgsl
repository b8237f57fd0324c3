// A scan over time, one workgroup to four samples: an invocation makes four gate rows of them, and
// then what the cell makes of these, which rnn/gpu.wgsl and lstm/gpu.wgsl say.
// Arguments: samples, steps, hidden, gate rows, sums over x (real), bias, y, what the cell asks for (c as scratch,
// or an activation); store.

const SCAN: u32 = 128u;

/// Gate rows of one sample at one step, rounded: `from_x` is the first of its sums over x.
fn gates(from_x: u32, rows: vec4<u32>, sums: real4) -> real4 {
    let at = vec4<u32>(from_x) + 2u * rows;
    let bias = arg(5u);
    return widen4(vec4<u32>(
        narrow((wide(at.x) + sums.x) + shift(bias, rows.x)),
        narrow((wide(at.y) + sums.y) + shift(bias, rows.y)),
        narrow((wide(at.z) + sums.z) + shift(bias, rows.z)),
        narrow((wide(at.w) + sums.w) + shift(bias, rows.w)),
    ));
}

/// One sample at one step: `b` counts samples, `t` steps.
fn advance(b: u32, t: u32, unit: u32, sums: real4) {
    if (b >= arg(0u)) {
        return;
    }
    let at = b * arg(1u) + t;
    let from_x = arg(4u) + 2u * at * arg(3u);
    cell(gates(from_x, rows_of(unit), sums), t == 0u, b, arg(6u) + at * arg(2u), unit);
}

fn scan(group: vec3<u32>, groups: vec3<u32>, local: u32, units: u32) {
    let first = 4u * (group.y * groups.x + group.x);
    if (first >= arg(0u)) {
        return;
    }
    let steps = arg(1u);
    let hidden = arg(2u);
    let s = store_at(8u);
    let samples = min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(arg(0u) - 1u));
    for (var t = 0u; t < steps; t += 1u) {
        let before = vec4<u32>(arg(6u)) + (samples * steps + vec4<u32>(t - 1u)) * hidden;
        for (var unit = local; unit < units; unit += SCAN) {
            var tile = Tile(no_sum4(), no_sum4(), no_sum4(), no_sum4());
            if (t > 0u) {
                tile = tile_of(before, s, rows_of(unit) * hidden, hidden);
            }
            advance(first, t, unit, totals(tile.a, s));
            advance(first + 1u, t, unit, totals(tile.b, s));
            advance(first + 2u, t, unit, totals(tile.c, s));
            advance(first + 3u, t, unit, totals(tile.d, s));
        }
        storageBarrier();
    }
}
