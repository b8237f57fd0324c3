// What the device makes of single operations. Arguments: triples of f32, triples of `real`, results
// in f32 and in `real`, five of each for each triple.

@compute @workgroup_size(64)
fn probe(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = begin(group, groups, local);
    if (i >= items) {
        return;
    }
    let in32 = arg(0u) + 3u * i;
    let a = bitcast<f32>(bits(in32));
    let b = bitcast<f32>(bits(in32 + 1u));
    let c = bitcast<f32>(bits(in32 + 2u));
    let out32 = arg(2u) + 5u * i;
    set_bits(out32, bitcast<u32>(a * b + c));
    set_bits(out32 + 1u, bitcast<u32>(fma(a, b, c)));
    set_bits(out32 + 2u, bitcast<u32>(a / b));
    set_bits(out32 + 3u, bitcast<u32>(sqrt(a)));
    set_bits(out32 + 4u, bitcast<u32>(a * b));
    let in64 = arg(1u) + 6u * i;
    let x = wide(in64);
    let y = wide(in64 + 2u);
    let z = wide(in64 + 4u);
    let out64 = arg(3u) + 10u * i;
    set_wide(out64, x * y + z);
    set_wide(out64 + 2u, fma(x, y, z));
    set_wide(out64 + 4u, x / y);
    set_wide(out64 + 6u, sqrt(x));
    set_wide(out64 + 8u, x * y);
}
