//! Where the reader of a request is, so that an error can say it: the reader stops at the first.

use std::cell::{Cell, RefCell};
use std::fmt;

#[derive(Default)]
pub(super) struct Place {
    pub(super) in_payload: Cell<bool>,
    pub(super) layer: Cell<Option<usize>>,
    field: RefCell<String>,
    pub(super) row: Cell<Option<usize>>,
    pub(super) element: Cell<Option<usize>>,
    /// The error is a number beyond f32.
    pub(super) beyond: Cell<bool>,
}

impl Place {
    /// Moves to a field.
    pub(super) fn name(&self, name: &str) {
        let mut field = self.field.borrow_mut();
        field.clear();
        field.push_str(name);
    }

    /// Whether no field has been met.
    pub(super) fn is_start(&self) -> bool {
        self.field.borrow().is_empty()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.in_payload.get() {
            f.write_str("payload.")?;
        }
        if let Some(layer) = self.layer.get() {
            write!(f, "layers[{layer}].")?;
        }
        f.write_str(&self.field.borrow())?;
        [self.row.get(), self.element.get()].into_iter().flatten().try_for_each(|i| write!(f, "[{i}]"))
    }
}
