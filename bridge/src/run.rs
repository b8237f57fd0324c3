//! What networks run on.

use std::error::Error;

use loom_core::{Cpu, Isa, Network, State, Tensor, Threads};

/// Weights from which on threads are started: that takes longer than the work of a smaller network.
const MANY: usize = 1 << 18;

/// How networks are run.
pub type Run = Box<dyn Fn(&Network, &[Tensor]) -> loom_core::Result<Tensor>>;

/// Opens what networks run on, or says why that cannot be.
pub type Opener = fn() -> Result<Run, Box<dyn Error + Send + Sync>>;

/// Runs them on the processor.
///
/// # Errors
/// None; an [`Opener`] may have some.
pub fn cpu() -> Result<Run, Box<dyn Error + Send + Sync>> {
    Ok(Box::new(|network, inputs| {
        let small = network.stores().iter().map(|(_, _, store)| store.len()).sum::<usize>() < MANY;
        let threads = if small { Threads::Single } else { Threads::Multi };
        // The best of those that are there is there.
        let cpu = Cpu::with(Isa::best(), threads).unwrap_or_else(Cpu::scalar);
        network.run(inputs, &mut State::default(), &cpu)
    }))
}
