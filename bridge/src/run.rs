//! What networks run on.

use loom_core::{Cpu, Isa, Network, State, Tensor, Threads};

/// Weights from which on threads are started: that takes longer than the work of a smaller network.
const MANY: usize = 1 << 18;

/// How networks are run.
pub type Run = Box<dyn Fn(&Network, &[Tensor]) -> Result<Tensor, String>>;

/// Opens what networks run on, or says why that cannot be.
pub type Opener = fn() -> Result<Run, String>;

/// Runs them on the processor.
///
/// # Errors
/// None; an [`Opener`] may have some.
pub fn cpu() -> Result<Run, String> {
    Ok(Box::new(|network, inputs| {
        let small = network.stores().iter().map(|(_, _, store)| store.len()).sum::<usize>() < MANY;
        let threads = if small { Threads::Single } else { Threads::Multi };
        let cpu = Cpu::with(Isa::best(), threads).ok_or("this processor's best instruction set is gone")?;
        network.run(inputs, &mut State::default(), &cpu).map_err(|e| e.to_string())
    }))
}
