// A transposed convolution over three axes. One invocation gathers one output: channels, then the
// input positions whose kernel reaches it, row-major.
// Arguments: x, y, channels, filters, all filters of y, first of them, input (3), output (3),
// kernel (3), stride (3), padding (3), dilation (3), bias, activation, channels and filters of a group; store.

/// The place of the kernel that lies `away` from where an input position writes first; one beyond any where none does.
fn kernel_place(away: u32, dilation: u32) -> u32 {
    // Below zero wraps around.
    return select(NONE, away / dilation, away < 0x80000000u && away % dilation == 0u);
}

@compute @workgroup_size(64)
fn conv_transposed(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
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
    let place = vec3<u32>(o / (output.y * output.z), (o / output.z) % output.y, o % output.z) + padding;
    let s = store_at(28u);
    let together = arg(26u);
    let above = (arg(5u) + f) / arg(27u) * together;
    var sum = no_sum();
    for (var c = 0u; c < together; c += 1u) {
        let plane = arg(0u) + (b * channels + above + c) * input.x * input.y * input.z;
        let filter_at = (f * together + c) * kernel.x * kernel.y * kernel.z;
        for (var z = 0u; z < input.x; z += 1u) {
            let tz = kernel_place(place.x - z * stride.x, dilation.x);
            for (var y = 0u; y < input.y; y += 1u) {
                let ty = kernel_place(place.y - y * stride.y, dilation.y);
                for (var x = 0u; x < input.z; x += 1u) {
                    let tx = kernel_place(place.z - x * stride.z, dilation.z);
                    if (tz < kernel.x && ty < kernel.y && tx < kernel.z) {
                        let w = weight(s, filter_at + (tz * kernel.y + ty) * kernel.z + tx);
                        sum = plus(sum, load(plane + (z * input.y + y) * input.z + x), w);
                    }
                }
            }
        }
    }
    let at = (b * arg(4u) + arg(5u) + f) * positions + o;
    set_bits(arg(1u) + at, activate(arg(25u), narrow(total(sum, s) + shift(arg(24u), f))));
}
