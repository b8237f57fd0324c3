// Walks over some axes of an array: walk.rs.

/// Where step `i` of a walk stands: argument `first` says how many axes it has, then come the reach and the step of
/// each, the fastest first.
fn place(i: u32, first: u32) -> u32 {
    var rest = i;
    var at = 0u;
    for (var axis = 0u; axis < arg(first); axis += 1u) {
        let reach = arg(first + 1u + 2u * axis);
        at += (rest % reach) * arg(first + 2u + 2u * axis);
        rest = rest / reach;
    }
    return at;
}
