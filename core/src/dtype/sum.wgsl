// Sums of products of four rows of x with four rows of weights: each element is widened and each
// weight decoded once for four products. Every sum is in the order of the elements.

struct Tile {
    a: Sum4,
    b: Sum4,
    c: Sum4,
    d: Sum4,
}

fn step(tile: Tile, x: real4, w: real4) -> Tile {
    return Tile(
        plus_each(tile.a, x.x, w),
        plus_each(tile.b, x.y, w),
        plus_each(tile.c, x.z, w),
        plus_each(tile.d, x.w, w),
    );
}

/// The first `n` products of rows of x, by address, with rows of a store, by element.
fn tile_of(x: vec4<u32>, s: Store, w: vec4<u32>, n: u32) -> Tile {
    var tile = Tile(no_sum4(), no_sum4(), no_sum4(), no_sum4());
    let all = x | w;
    let aligned = ((n | all.x | all.y | all.z | all.w) & 3u) == 0u;
    var k = 0u;
    while (aligned && k < n) {
        let xa = load4(x.x + k);
        let xb = load4(x.y + k);
        let xc = load4(x.z + k);
        let xd = load4(x.w + k);
        let wa = weight4(s, w.x + k);
        let wb = weight4(s, w.y + k);
        let wc = weight4(s, w.z + k);
        let wd = weight4(s, w.w + k);
        tile = step(tile, real4(xa.x, xb.x, xc.x, xd.x), real4(wa.x, wb.x, wc.x, wd.x));
        tile = step(tile, real4(xa.y, xb.y, xc.y, xd.y), real4(wa.y, wb.y, wc.y, wd.y));
        tile = step(tile, real4(xa.z, xb.z, xc.z, xd.z), real4(wa.z, wb.z, wc.z, wd.z));
        tile = step(tile, real4(xa.w, xb.w, xc.w, xd.w), real4(wa.w, wb.w, wc.w, wd.w));
        k += 4u;
    }
    while (k < n) {
        let row = real4(load(x.x + k), load(x.y + k), load(x.z + k), load(x.w + k));
        let column = real4(weight(s, w.x + k), weight(s, w.y + k), weight(s, w.z + k), weight(s, w.w + k));
        tile = step(tile, row, column);
        k += 1u;
    }
    return tile;
}

/// The four sums of a row.
fn totals(sum: Sum4, s: Store) -> real4 {
    return real4(
        total(Sum(sum.s.x, sum.lost.x), s),
        total(Sum(sum.s.y, sum.lost.y), s),
        total(Sum(sum.s.z, sum.lost.z), s),
        total(Sum(sum.s.w, sum.lost.w), s),
    );
}
