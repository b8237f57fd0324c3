// Products in f32, summed as is convenient: what exactness is measured against. Nothing else uses
// them. Weights are f32 words. Arguments: rows, outputs, depth, y; x starts at 0.

/// Copies words. Arguments: none.
@compute @workgroup_size(256)
fn plain_copy(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = (group.y * groups.x + group.x) * 1024u + local;
    arena[at] = codes[at];
    arena[at + 256u] = codes[at + 256u];
    arena[at + 512u] = codes[at + 512u];
    arena[at + 768u] = codes[at + 768u];
}

var<workgroup> lanes: array<f32, 64>;

@compute @workgroup_size(64)
fn plain_gemv(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let unused = begin(group, groups, 0u);
    let depth = arg(2u);
    let row = group.x * depth;
    var sum = vec4<f32>();
    for (var k = 4u * local; k < depth; k += 256u) {
        sum = fma(bitcast<vec4<f32>>(arena[k >> 2u]), bitcast<vec4<f32>>(codes[(row + k) >> 2u]), sum);
    }
    lanes[local] = (sum.x + sum.y) + (sum.z + sum.w);
    for (var half = 32u; half > 0u; half = half / 2u) {
        workgroupBarrier();
        if (local < half) {
            lanes[local] += lanes[local + half];
        }
    }
    if (local == 0u) {
        set_bits(arg(3u) + group.x, bitcast<u32>(lanes[0]));
    }
}

var<workgroup> plain_rows: array<vec4<f32>, 256>;
var<workgroup> plain_outs: array<vec4<f32>, 256>;

@compute @workgroup_size(256)
fn plain_gemm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let unused = begin(group, groups, 0u);
    let rows = arg(0u);
    let outs = arg(1u);
    let depth = arg(2u);
    let across = (outs + 63u) / 64u;
    let r0 = group.x / across * 64u;
    let o0 = group.x % across * 64u;
    let ty = local / 16u;
    let tx = local % 16u;
    let row = local / 4u;
    let k4 = local % 4u * 4u;
    let x = min(r0 + row, rows - 1u) * depth;
    let w = min(o0 + row, outs - 1u) * depth;
    var a = vec4<f32>();
    var b = vec4<f32>();
    var c = vec4<f32>();
    var d = vec4<f32>();
    for (var k0 = 0u; k0 < depth; k0 += 16u) {
        let xs = bitcast<vec4<f32>>(arena[(x + k0 + k4) >> 2u]);
        let ws = bitcast<vec4<f32>>(codes[(w + k0 + k4) >> 2u]);
        workgroupBarrier();
        for (var j = 0u; j < 4u; j += 1u) {
            plain_rows[(k4 + j) * 16u + row / 4u][row % 4u] = xs[j];
            plain_outs[(k4 + j) * 16u + row / 4u][row % 4u] = ws[j];
        }
        workgroupBarrier();
        for (var j = 0u; j < 16u; j += 1u) {
            let p = plain_rows[j * 16u + ty];
            let q = plain_outs[j * 16u + tx];
            a = fma(vec4<f32>(p.x), q, a);
            b = fma(vec4<f32>(p.y), q, b);
            c = fma(vec4<f32>(p.z), q, c);
            d = fma(vec4<f32>(p.w), q, d);
        }
    }
    let at = arg(3u) + (r0 + 4u * ty) * outs + o0 + 4u * tx;
    for (var j = 0u; j < 4u; j += 1u) {
        set_bits(at + j, bitcast<u32>(a[j]));
        set_bits(at + outs + j, bitcast<u32>(b[j]));
        set_bits(at + 2u * outs + j, bitcast<u32>(c[j]));
        set_bits(at + 3u * outs + j, bitcast<u32>(d[j]));
    }
}
