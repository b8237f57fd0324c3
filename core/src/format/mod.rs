//! File formats. Readers of foreign input live here and only here.

pub mod dialect;
pub mod flat;
