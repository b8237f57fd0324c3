//! What tests plant between the goldens and a network, to see the judge turn red.

use loom_core::format::Format;
use loom_core::{Cpu, Network, NetworkSpec, State, Tensor};

use super::plan::Case;

/// A fault that a test plants; each method as it is changes nothing.
pub trait Planted: Sync {
    /// Changes the topology.
    fn spec(&self, _spec: &mut NetworkSpec) {}
    /// Changes the weights, in Loom's layout.
    fn weights(&self, _weights: &mut loom_core::WeightTable) {}
    /// Changes a network whose weights are in a dtype.
    fn stored(&self, _case: &Case, network: Network) -> Network {
        network
    }
    /// Changes the bytes of a checkpoint between writing and reading.
    fn file(&self, _format: Format, _bytes: &mut Vec<u8>) {}
    /// Runs the network of a case whose weights are in a dtype in another way.
    fn packed(&self, _case: &Case, network: &Network, inputs: &[Tensor], cpu: &Cpu) -> loom_core::Result<Tensor> {
        self.run(network, inputs, cpu)
    }
    /// Runs any network in another way.
    fn run(&self, network: &Network, inputs: &[Tensor], cpu: &Cpu) -> loom_core::Result<Tensor> {
        network.run(inputs, &mut State::default(), cpu)
    }
}

/// No fault.
#[derive(Clone, Copy, Debug)]
pub struct Faithful;

impl Planted for Faithful {}
