//! Layers as dispatches of a GPU: a tape, and what it takes to record layers on it.

use super::{Activation, Child, Layer, Links};
use crate::error::{Problem, Result};
use crate::gpu::{GpuArray, Piece, Sums, Tape};
use crate::role::Role;
use crate::store::WeightStore;

/// Records the layers of one run.
pub(crate) struct Recorder<'n> {
    /// What was recorded so far.
    pub(crate) tape: Tape<'n>,
    links: &'n dyn Links,
}

impl<'n> Recorder<'n> {
    pub(crate) fn new(tape: Tape<'n>, links: &'n dyn Links) -> Self {
        Self { tape, links }
    }

    /// Records a layer.
    pub(crate) fn layer(&mut self, layer: &Layer, x: &GpuArray, skip: Option<&GpuArray>) -> Result<GpuArray> {
        if !layer.is_loaded() && !layer.spec().roles().is_empty() {
            return Err(layer.error(Problem::NotLoaded));
        }
        let y = layer.spec().record(self, layer, x, skip)?;
        self.tape.check_size().map_err(|problem| layer.error(problem))?;
        Ok(y)
    }

    /// Records a child of a container.
    pub(super) fn child(&mut self, child: &Child, x: &GpuArray, skip: Option<&GpuArray>) -> Result<GpuArray> {
        match child.layer(self.links) {
            Some(layer) => self.layer(layer, x, skip),
            None => Ok(x.clone()),
        }
    }

    /// As [`Tape::within`].
    pub(super) fn within(&self, layer: &Layer, turns: usize) -> Result<()> {
        self.tape.within(turns).map_err(|problem| layer.error(problem))
    }

    /// Refuses to make so many elements more than a binding can show, before tables as long are made of them.
    pub(super) fn room(&self, layer: &Layer, elements: usize) -> Result<()> {
        self.tape.room(elements).map_err(|problem| layer.error(problem))
    }

    /// As [`Tape::vector`].
    pub(super) fn vector(&mut self, layer: &Layer, role: Role) -> Result<u32> {
        self.tape.vector(layer.store(role)).map_err(|problem| layer.error(problem))
    }

    /// As [`Tape::whole`].
    pub(super) fn whole(&mut self, layer: &Layer, store: &WeightStore, sums: Sums) -> Result<Piece> {
        self.tape.whole(store, sums).map_err(|problem| layer.error(problem))
    }

    /// As [`Tape::pieces`].
    pub(super) fn pieces(&mut self, layer: &Layer, store: &WeightStore, sums: Sums) -> Result<Vec<Piece>> {
        self.tape.pieces(store, sums).map_err(|problem| layer.error(problem))
    }

    /// As [`Tape::linear`]: the linear map of a weight and a bias role.
    pub(super) fn linear(
        &mut self,
        layer: &Layer,
        x: &GpuArray,
        weight: Role,
        bias: Role,
        activation: Activation,
    ) -> Result<GpuArray> {
        let (weight, bias) = (&layer.weights()[&weight], layer.store(bias));
        let y = self.tape.linear(x, weight, bias, Self::fused(activation)).map_err(|problem| layer.error(problem))?;
        self.finish(&y, activation);
        Ok(y)
    }

    /// As [`Tape::sums`].
    pub(super) fn sums(&mut self, layer: &Layer, x: &GpuArray, weight: Role) -> Result<u32> {
        self.tape.sums(x, &layer.weights()[&weight]).map_err(|problem| layer.error(problem))
    }
}
