// What every kernel shares: the three buffers, the record of parameters of one cell, and loads and
// stores of single elements. `real` is f64, or f32 on devices without it: double.wgsl, single.wgsl.

@group(0) @binding(0) var<storage, read> codes: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> arena: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> params: array<u32>;

/// Invocations of a workgroup.
const GROUP: u32 = 64u;
/// Words of a record: tape.rs.
const RECORD: u32 = 64u;
/// An address that is not there.
const NONE: u32 = 0xffffffffu;

var<private> record: u32;
var<private> base: u32;
var<private> code_base: u32;
var<private> items: u32;

/// Finds the record of this cell, which `z` counts, and says which item this invocation makes.
fn begin(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    record = group.z * RECORD;
    base = params[record];
    code_base = params[record + 1u];
    items = params[record + 2u];
    return (group.y * groups.x + group.x) * GROUP + local;
}

/// Argument `i` of the record.
fn arg(i: u32) -> u32 {
    return params[record + 3u + i];
}

/// The f32 element at an address, as its bits.
fn bits(at: u32) -> u32 {
    let word = base + at;
    return arena[word >> 2u][word & 3u];
}

fn set_bits(at: u32, value: u32) {
    let word = base + at;
    arena[word >> 2u][word & 3u] = value;
}

/// The f32 element at an address.
fn load(at: u32) -> real {
    return widen(bits(at));
}

/// Four f32 elements from an address on that four divides.
fn load4(at: u32) -> real4 {
    return widen4(arena[(base + at) >> 2u]);
}

/// Rounds once to f32 and stores.
fn store(at: u32, value: real) {
    set_bits(at, narrow(value));
}

/// Element `i` of an array of `real`, 0 where there is none.
fn shift(at: u32, i: u32) -> real {
    if (at == NONE) {
        return real(0.0);
    }
    return wide(at + 2u * i);
}

/// A `real` argument, which takes two words.
fn wide_arg(i: u32) -> real {
    return joined(arg(i), arg(i + 1u));
}

/// The `real` at an address, which takes two words.
fn wide(at: u32) -> real {
    return joined(bits(at), bits(at + 1u));
}
