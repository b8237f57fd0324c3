//! Networks on a GPU: the walk over the layers that records a run, and runs of many networks.

use super::Network;
use crate::error::{Problem, Result};
use crate::gpu::{Footprint, Gpu, GpuArray, GpuState, Limits, Precision, Ran, Repeat, Tape};
use crate::layers::{Recorder, kernels};
use crate::tensor::Tensor;

/// Words of an arena that cells are gathered in: 64 MiB.
const GATHERED: usize = 16 << 20;
/// Records a run on `inputs`.
///
/// # Errors
/// Those of [`Network::run`], and [`Problem::NotOnDevice`].
pub(crate) fn record<'n>(
    network: &'n Network,
    inputs: &[Tensor],
    state: &'n GpuState,
    limits: Limits,
) -> Result<Tape<'n>> {
    network.check_inputs(inputs.len())?;
    let (tape, given) = Tape::new(inputs, state, limits);
    let mut recorder = Recorder::new(tape, network);
    let mut current: Option<GpuArray> = None;
    for cell in network.cells.iter().filter(|cell| !cell.disabled) {
        let named = |index: usize| {
            let problem = Problem::NoInput { index, given: given.len() };
            given.get(index).ok_or_else(|| cell.layer.error(problem))
        };
        let x = match (cell.input, &current) {
            (Some(index), _) => named(index)?,
            (None, Some(previous)) => previous,
            (None, None) => named(0)?,
        };
        let skip = cell.skip.map(named).transpose()?;
        current = Some(recorder.layer(&cell.layer, x, skip)?);
    }
    match (current, given.into_iter().next()) {
        (Some(y), _) | (None, Some(y)) => Ok(recorder.tape.ending_in(y)),
        (None, None) => Err(network.cells[0].layer.error(Problem::NoInput { index: 0, given: 0 })),
    }
}

impl Gpu {
    /// Runs a network. The output is a function of the same inputs and state as on the CPU.
    ///
    /// # Errors
    /// Those of [`Network::run`]; [`crate::Error::Device`] when the device fails or runs out of memory;
    /// [`crate::Problem::NotOnDevice`] for layers and sizes that it cannot run.
    pub fn run(&self, network: &Network, inputs: &[Tensor], state: &mut GpuState) -> Result<Tensor> {
        state.claim(network.id)?;
        let tape = record(network, inputs, state, self.limits())?;
        let (ran, caches) = self.execute_one(&tape)?;
        let visits = tape.visits;
        state.update(caches, visits);
        if ran.broken_guards > 0 {
            return Err(self.fault(format!("{} guard words were overwritten", ran.broken_guards)));
        }
        Ok(ran.output)
    }

    /// Runs many networks from a fresh state, each twice over memory that held other things, and
    /// hands each result to `done` with its index.
    pub fn run_all(&self, cells: &[(&Network, &[Tensor])], done: &mut dyn FnMut(usize, Result<Ran>)) {
        let fresh = GpuState::default();
        let most = GATHERED.min(self.limits().binding);
        let (mut gathered, mut words, mut codes) = (Vec::new(), 0, 0);
        for (i, (network, inputs)) in cells.iter().enumerate() {
            let tape = match record(network, inputs, &fresh, self.limits()) {
                Ok(tape) => tape,
                Err(error) => {
                    done(i, Err(error));
                    continue;
                }
            };
            // Codes of several bindings cannot be gathered with others.
            let alone = tape.segments() > 1;
            let more = tape.code_words();
            if !gathered.is_empty() && (alone || words + tape.words() > most || codes + more > most) {
                self.flush(&mut gathered, done);
                (words, codes) = (0, 0);
            }
            words += tape.words();
            codes += more;
            gathered.push((i, tape));
            if alone {
                self.flush(&mut gathered, done);
                (words, codes) = (0, 0);
            }
        }
        self.flush(&mut gathered, done);
    }

    fn flush(&self, gathered: &mut Vec<(usize, Tape<'_>)>, done: &mut dyn FnMut(usize, Result<Ran>)) {
        if gathered.is_empty() {
            return;
        }
        let tapes: Vec<&Tape<'_>> = gathered.iter().map(|(_, tape)| tape).collect();
        match self.execute(&tapes) {
            Ok(ran) => gathered.iter().zip(ran).for_each(|((i, _), ran)| done(*i, Ok(ran))),
            Err(error) => gathered.iter().for_each(|(i, _)| done(*i, Err(error.clone()))),
        }
        gathered.clear();
    }

    /// Makes every pipeline that networks can ask for, and says how many there are.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when one cannot be made.
    pub fn compile_all(&self) -> Result<usize> {
        self.compile(&kernels())
    }

    /// Uploads a run of a network and hands over what repeats it, from a fresh state each time.
    ///
    /// # Errors
    /// Those of [`Gpu::run`] and of `f`.
    pub fn repeated<T>(
        &self,
        network: &Network,
        inputs: &[Tensor],
        f: impl FnOnce(Repeat<'_>) -> Result<T>,
    ) -> Result<T> {
        let fresh = GpuState::default();
        self.repeated_tape(&record(network, inputs, &fresh, self.limits())?, f)
    }
}

/// What a network takes on a device that has f64, without one: packed weights and all arrays of a
/// run on `inputs`.
///
/// # Errors
/// Those of [`Gpu::run`] that do not need a device.
pub fn footprint(network: &Network, inputs: &[Tensor]) -> Result<Footprint> {
    let precision = Precision::Double;
    let limits = Limits { binding: 1 << 31, precision, subgroups: true, large_groups: true, turns: usize::MAX };
    Ok(record(network, inputs, &GpuState::default(), limits)?.footprint())
}
