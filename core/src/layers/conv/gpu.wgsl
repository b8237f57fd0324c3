// A convolution over three axes; those that a kind does not have are of extent 1. One invocation
// makes one output: channels, then kernel positions row-major; padding adds nothing.
// Arguments: x, y, channels, filters, all filters of y, first of them, input (3), output (3),
// kernel (3), stride (3), padding (3), dilation (3), bias, activation, channels and filters of a group; store.

@compute @workgroup_size(64)
fn conv(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let channels = arg(2u);
    let filters = arg(3u);
    let input = vec3<u32>(arg(6u), arg(7u), arg(8u));
    let output = vec3<u32>(arg(9u), arg(10u), arg(11u));
    let kernel = vec3<u32>(arg(12u), arg(13u), arg(14u));
    let stride = vec3<u32>(arg(15u), arg(16u), arg(17u));
    let padding = vec3<u32>(arg(18u), arg(19u), arg(20u));
    let dilation = vec3<u32>(arg(21u), arg(22u), arg(23u));
    let positions = output.x * output.y * output.z;
    let o = i % positions;
    let f = (i / positions) % filters;
    let b = i / (positions * filters);
    let start = vec3<u32>(o / (output.y * output.z), (o / output.z) % output.y, o % output.z) * stride;
    let s = store_at(28u);
    let together = arg(26u);
    let above = (arg(5u) + f) / arg(27u) * together;
    var sum = no_sum();
    var w = f * together * kernel.x * kernel.y * kernel.z;
    for (var c = 0u; c < together; c += 1u) {
        let plane = arg(0u) + (b * channels + above + c) * input.x * input.y * input.z;
        for (var tz = 0u; tz < kernel.x; tz += 1u) {
            // Below zero wraps around, beyond every extent.
            let z = start.x + tz * dilation.x - padding.x;
            for (var ty = 0u; ty < kernel.y; ty += 1u) {
                let y = start.y + ty * dilation.y - padding.y;
                for (var tx = 0u; tx < kernel.z; tx += 1u) {
                    let x = start.z + tx * dilation.z - padding.z;
                    if (z < input.x && y < input.y && x < input.z) {
                        sum = plus(sum, load(plane + (z * input.y + y) * input.z + x), weight(s, w));
                    }
                    w += 1u;
                }
            }
        }
    }
    let at = (b * arg(4u) + arg(5u) + f) * positions + o;
    set_bits(arg(1u) + at, activate(arg(25u), narrow(total(sum, s) + shift(arg(24u), f))));
}
