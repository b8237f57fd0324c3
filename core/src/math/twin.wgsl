// The functions of core/src/math, one by one. Arguments: x, y (real), function.

@compute @workgroup_size(64)
fn twin(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let x = wide(arg(0u) + 2u * i);
    var y = x;
    switch arg(2u) {
        case 0u: { y = exp_of(x); }
        case 1u: { y = ln_of(x); }
        case 2u: { y = pow_of(10000.0lf, x); }
        case 3u: { y = sigmoid_of(x); }
        case 4u: { y = tanh_of(x); }
        case 5u: { y = gelu_of(x); }
        case 6u: { y = sin_cos_of(x, 0u); }
        case 7u: { y = sin_cos_of(x, 1u); }
        case 8u: { y = expm1_of(x); }
        case 9u: { y = ln_1p_of(abs(x)); }
        case 10u: { y = erfc_of(x); }
        case 11u: { y = gelu_erf_of(x); }
        case 12u: { y = softplus_of(x); }
        default: { y = mish_of(x); }
    }
    set_wide(arg(1u) + 2u * i, y);
}
