// Pools over three axes; those that a layer does not have are of extent 1. One invocation makes one output, places
// of a window row-major. Arguments: x, y, operation, whether padding is counted, exponent (real), then for each axis
// input, output, kernel, stride, dilation, what lies before it, the input with both sides.

struct Span {
    input: u32,
    output: u32,
    kernel: u32,
    stride: u32,
    dilation: u32,
    before: u32,
    padded: u32,
}

fn span(axis: u32) -> Span {
    let i = 6u + 7u * axis;
    return Span(arg(i), arg(i + 1u), arg(i + 2u), arg(i + 3u), arg(i + 4u), arg(i + 5u), arg(i + 6u));
}

/// How many places of window `o` lie in the padded input.
fn counted(a: Span, o: u32) -> u32 {
    let first = o * a.stride;
    if (first >= a.padded) {
        return 0u;
    }
    return min((a.padded - first + a.dilation - 1u) / a.dilation, a.kernel);
}

@compute @workgroup_size(64)
fn pool(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let z = span(0u);
    let y = span(1u);
    let x = span(2u);
    let ox = i % x.output;
    let oy = (i / x.output) % y.output;
    let oz = (i / (x.output * y.output)) % z.output;
    let plane = arg(0u) + (i / (x.output * y.output * z.output)) * z.input * y.input * x.input;
    let operation = arg(2u);
    let p = wide_arg(4u);
    var most = 0xff800000u;
    var sum = real(0.0);
    var count = 0u;
    for (var tz = 0u; tz < z.kernel; tz += 1u) {
        // Below zero wraps around, beyond every extent.
        let pz = oz * z.stride + tz * z.dilation - z.before;
        for (var ty = 0u; ty < y.kernel; ty += 1u) {
            let py = oy * y.stride + ty * y.dilation - y.before;
            for (var tx = 0u; tx < x.kernel; tx += 1u) {
                let px = ox * x.stride + tx * x.dilation - x.before;
                if (pz < z.input && py < y.input && px < x.input) {
                    let b = bits(plane + (pz * y.input + py) * x.input + px);
                    let v = widen(b);
                    count += 1u;
                    switch operation {
                        case 0u: {
                            if (!is_nan(widen(most)) && !(widen(most) >= v)) {
                                most = b;
                            }
                        }
                        case 1u: {
                            sum = sum + v;
                        }
                        case 2u: {
                            sum = sum + abs(v);
                        }
                        case 3u: {
                            sum = sum + v * v;
                        }
                        default: {
                            sum = sum + pow_of(abs(v), p);
                        }
                    }
                }
            }
        }
    }
    if (arg(3u) == 1u) {
        count = counted(z, oz) * counted(y, oy) * counted(x, ox);
    }
    switch operation {
        case 0u: {
            store(arg(1u) + i, widen(most));
        }
        case 1u: {
            if (count == 0u) {
                set_bits(arg(1u) + i, 0u);
            } else {
                store(arg(1u) + i, sum / real(count));
            }
        }
        case 2u: {
            store(arg(1u) + i, sum);
        }
        case 3u: {
            store(arg(1u) + i, sqrt(sum));
        }
        default: {
            store(arg(1u) + i, pow_of(sum, real(1.0) / p));
        }
    }
}
