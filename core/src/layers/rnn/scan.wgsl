// A scan over time, one workgroup to a sample: the sums of every gate row, then the cell of each
// hidden unit, which rnn/gpu.wgsl and lstm/gpu.wgsl say.
// Arguments: steps, hidden, gates, sums over x (real), bias, y, gate sums (scratch), c (scratch); store.

const SCAN: u32 = 128u;
const SCAN_STORE: u32 = 8u;

fn scan(group: vec3<u32>, groups: vec3<u32>, local: u32) {
    let unused = begin(group, groups, 0u);
    let b = group.y * groups.x + group.x;
    if (b >= items) {
        return;
    }
    let steps = arg(0u);
    let hidden = arg(1u);
    let rows = arg(2u) * hidden;
    let z = arg(6u) + b * rows;
    for (var t = 0u; t < steps; t += 1u) {
        let at = b * steps + t;
        let before = arg(5u) + (at - 1u) * hidden;
        for (var i = local; i < rows; i += SCAN) {
            var sum = no_sum();
            if (t > 0u) {
                for (var k = 0u; k < hidden; k += 1u) {
                    sum = plus(sum, load(before + k), weight(SCAN_STORE, i * hidden + k));
                }
            }
            let from_x = wide(arg(3u) + 2u * (at * rows + i));
            store(z + i, (from_x + total(sum, SCAN_STORE)) + shift(arg(4u), i));
        }
        storageBarrier();
        for (var j = local; j < hidden; j += SCAN) {
            cell(t == 0u, z + j, hidden, arg(7u) + b * hidden + j, arg(5u) + at * hidden + j);
        }
        storageBarrier();
    }
}
