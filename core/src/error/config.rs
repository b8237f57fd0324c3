//! How a layer's configuration contradicts itself.

use crate::coord::Coord;

/// What is wrong with the configuration of a layer, or what a run found it not to fit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A size is 0.
    #[error("{field} is 0; it must be at least 1")]
    Zero {
        /// The size's name.
        field: &'static str,
    },
    /// A size is beyond that of any model.
    #[error("{field} is {found}; it must be at most {most}")]
    TooLarge {
        /// The size's name.
        field: &'static str,
        /// What it is.
        found: usize,
        /// The largest that is taken.
        most: usize,
    },
    /// A number is outside its range, or none.
    #[error("{field} is {found}; it must be {expected}")]
    Number {
        /// The number's name.
        field: &'static str,
        /// What it is.
        found: f64,
        /// What it must be, in words.
        expected: &'static str,
    },
    /// Extents are not those of the kind's axes.
    #[error("{field} is {found:?}; expected {axes} extents from 1 to {most}")]
    Extents {
        /// The name of the extents.
        field: &'static str,
        /// What they are.
        found: Vec<usize>,
        /// How many axes the kind has.
        axes: usize,
        /// The largest extent that is taken.
        most: usize,
    },
    /// An array would have more elements than any is given room for.
    #[error("{array} would have {extents:?} elements; at most {most} are held")]
    Elements {
        /// The array.
        array: &'static str,
        /// Its extents, whose product is too large.
        extents: Vec<usize>,
        /// The most elements of one array.
        most: usize,
    },
    /// A window reaches further than there are positions.
    #[error("a window reaches over {reach} positions, and an axis of {input} has {padded} with its padding")]
    Reach {
        /// Positions from the first place of the window to the last.
        reach: usize,
        /// Positions of the axis, padding included.
        padded: usize,
        /// Extent of the axis.
        input: usize,
    },
    /// There are other sides than those of the kind's axes.
    #[error("{field} is {found:?}; expected a number, or one or two for each of {axes} axes, up to {most}")]
    Sides {
        /// The name of the numbers.
        field: &'static str,
        /// What they are.
        found: Vec<usize>,
        /// How many axes there are.
        axes: usize,
        /// The largest number that is taken.
        most: usize,
    },
    /// Channels cannot be divided evenly.
    #[error("{field} is {found}, which {groups} groups do not divide")]
    Groups {
        /// The name of the channels.
        field: &'static str,
        /// How many there are.
        found: usize,
        /// Into how many groups they are to be divided.
        groups: usize,
    },
    /// A recurrent layer has an activation that its steps do not know.
    #[error("a recurrent layer cannot have {found}; it has {known}")]
    Recurrent {
        /// The activation.
        found: &'static str,
        /// Those that it can have.
        known: String,
    },
    /// An axis is named that there is not, or twice, or it is the batch axis.
    #[error("axis {axis} of {axes}: expected one from 1 to {last} or from -1 to -{last}, each once; axis 0 is the batch", last = axes.saturating_sub(1))]
    Axis {
        /// The axis as the configuration has it.
        axis: i64,
        /// How many axes there are.
        axes: usize,
    },
    /// What a view asks for does not fit the array.
    #[error("{what} does not fit an axis of {extent}")]
    View {
        /// What it asks for, in words.
        what: String,
        /// The extent.
        extent: usize,
    },
    /// Query heads cannot share key/value heads evenly.
    #[error("num_heads {heads} is not a multiple of num_kv_heads {kv_heads}")]
    Heads {
        /// Query heads.
        heads: usize,
        /// Key/value heads.
        kv_heads: usize,
    },
    /// Features cannot be divided among the heads.
    #[error("d_model {d_model} is not a multiple of num_heads {heads}; give head_dim")]
    HeadWidth {
        /// Features of a position.
        d_model: usize,
        /// Query heads.
        heads: usize,
    },
    /// A window looks back from each position, so that later ones must not be seen.
    #[error("a window needs causal attention")]
    Window {
        /// Positions of the window.
        window: usize,
    },
    /// Branches are to be weighed, and nothing says by what.
    #[error("combine: filter needs a gate layer")]
    NoGate {
        /// How many branches there are.
        branches: usize,
    },
    /// A gate is given to a mode that has no use for one.
    #[error("a gate is only used with combine: filter")]
    StrayGate {
        /// The mode.
        combine: &'static str,
    },
    /// An axis is given to a mode that has no use for one.
    #[error("an axis is only used with combine: concat; this layer is to {combine}")]
    StrayAxis {
        /// The mode.
        combine: &'static str,
    },
    /// The threshold of a metacognition rule is no number.
    #[error("the threshold of rule {rule} is not a finite number")]
    Threshold {
        /// The rule's position in the list.
        rule: usize,
        /// What the threshold is.
        found: f64,
    },
    /// A softmax over a grid was given fewer elements than the grid's rows begin with.
    #[error("a grid of {rows} rows of {cols} needs more than the {elements} elements given")]
    Grid {
        /// Rows of the grid.
        rows: usize,
        /// Elements of a row.
        cols: usize,
        /// Elements given.
        elements: usize,
    },
    /// A child links to where no layer can be.
    #[error("{child} links to {target}, which is outside the grid")]
    Link {
        /// The last part of the child's path.
        child: String,
        /// The position it names.
        target: Coord,
    },
    /// A child is neither a layer nor a link, or both.
    #[error("{child} needs either `layer` or `link`, and not both")]
    Child {
        /// The last part of the child's path.
        child: String,
        /// Whether it is both.
        both: bool,
    },
    /// Links make one layer run more often than any run allows.
    #[error("its links unfold into more than {most} layers")]
    Unfolded {
        /// The most layers that one may unfold into.
        most: usize,
    },
}

/// What keeps the command of a metacognition rule from being executed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// The rule points to no layer of the grid.
    #[error("its target lies outside the grid")]
    Target {
        /// The column x that it names; `None` means the observed layer.
        column: Option<usize>,
    },
    /// The command has no meaning for such a layer.
    #[error("{command} cannot be applied to a {kind} layer")]
    Unfit {
        /// The command.
        command: &'static str,
        /// The layer's kind.
        kind: &'static str,
    },
    /// The weights of the new layer cannot be stored.
    #[error(transparent)]
    Store(Box<super::Error>),
}
