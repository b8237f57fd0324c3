//! Positions in the grid, and their order.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A grid position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Coord {
    /// Depth of the cell.
    pub z: usize,
    /// Row of the cell.
    pub y: usize,
    /// Column of the cell.
    pub x: usize,
    /// Layer within the cell.
    pub l: usize,
}

impl fmt::Display for Coord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{},{},{})", self.z, self.y, self.x, self.l)
    }
}

/// How far a grid reaches along each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    /// Cells along z.
    pub depth: usize,
    /// Cells along y.
    pub rows: usize,
    /// Cells along x.
    pub cols: usize,
    /// Layers in each cell.
    pub layers_per_cell: usize,
}

impl Coord {
    /// z, y, x, l.
    #[must_use]
    pub fn axes(self) -> [usize; 4] {
        [self.z, self.y, self.x, self.l]
    }
}

impl Extents {
    /// In the order of [`Coord::axes`].
    #[must_use]
    pub fn axes(self) -> [usize; 4] {
        [self.depth, self.rows, self.cols, self.layers_per_cell]
    }

    /// The places of the grid; `None` when there is none, or more than the machine can count.
    #[must_use]
    pub fn places(self) -> Option<usize> {
        self.axes().iter().try_fold(1, |places: usize, &extent| places.checked_mul(extent)).filter(|&places| places > 0)
    }

    /// The index of a position in forward order, if it lies inside the grid.
    #[must_use]
    pub fn index(self, at: Coord) -> Option<usize> {
        self.places()?;
        let (at, extents) = (at.axes(), self.axes());
        let inside = at.iter().zip(&extents).all(|(at, extent)| at < extent);
        inside.then(|| at.iter().zip(&extents).fold(0, |index, (at, extent)| index * extent + at))
    }

    /// The position of an index in forward order.
    #[must_use]
    pub fn position(self, index: usize) -> Coord {
        let Self { rows, cols, layers_per_cell, .. } = self;
        let (cell, l) = (index / layers_per_cell, index % layers_per_cell);
        Coord { z: cell / cols / rows, y: cell / cols % rows, x: cell % cols, l }
    }
}
