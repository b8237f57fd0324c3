// Activations of single elements, those of the original and others. Arguments: x, y, rule, two numbers (real).

@compute @workgroup_size(64)
fn activation(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    set_bits(arg(1u) + i, activated(arg(2u), bits(arg(0u) + i), wide_arg(3u), wide_arg(5u)));
}

fn between(x: real, low: real, high: real) -> real {
    if (x < low) {
        return low;
    }
    if (x > high) {
        return high;
    }
    return x;
}

fn activated(rule: u32, b: u32, p: real, q: real) -> u32 {
    let x = widen(b);
    switch rule {
        case 9u: { // leaky_relu
            if (x < real(0.0)) {
                return narrow(q * x);
            }
            return b;
        }
        case 10u: {
            return narrow(gelu_erf_of(x));
        }
        case 11u: { // hard_swish
            return narrow(x * between(x + real(3.0), real(0.0), real(6.0)) / real(6.0));
        }
        case 12u: { // hard_sigmoid
            return narrow(between(p * x + q, real(0.0), real(1.0)));
        }
        case 13u: { // clip
            return narrow(between(x, p, q));
        }
        case 14u: { // elu
            if (x < real(0.0)) {
                return narrow(q * expm1_of(x));
            }
            return narrow(p * x);
        }
        case 15u: {
            return narrow(softplus_of(p * x) / p);
        }
        case 16u: {
            return narrow(mish_of(x));
        }
        default: {
            return activate(rule, b);
        }
    }
}
