//! A layer at run time: its weights, the layers inside it, and one run of a network.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use super::packing::pack_weights;
use super::{Child, ChildBody, LayerSpec, Links, RoleShape, State};
use crate::backend::{Cpu, MatRef, Panels, Rows, Threads, matmul};
use crate::coord::{Coord, Extents};
use crate::dtype::{Magnitudes, Numerics};
use crate::error::{ConfigError, Error, Problem, Result};
use crate::role::Role;
use crate::store::{Storage, WeightStore, WeightTable, Weights};
use crate::tensor::Tensor;

/// A layer with its weights and the layers inside it.
#[derive(Clone, Debug)]
pub struct Layer {
    pub(super) site: usize,
    pub(super) at: Coord,
    pub(super) path: String,
    pub(super) spec: LayerSpec,
    weights: Weights,
    /// What the vector kernels make of each store when they need it first.
    panels: Arc<BTreeMap<Role, OnceLock<Panels>>>,
    /// Whether its weights were left in a file, so that it cannot run.
    pub(super) absent: bool,
    pub(super) children: Vec<Child>,
}

impl Layer {
    /// Builds a layer and those inside it; `sites` counts the layers built so far. Without
    /// weights where they were left in a file (`absent`).
    pub(crate) fn build(
        extents: Extents,
        spec: LayerSpec,
        at: Coord,
        path: String,
        absent: bool,
        sites: &mut usize,
        table: &mut WeightTable,
    ) -> Result<Self> {
        let weights = table.remove(&path).unwrap_or_default();
        let panels = no_panels(&weights);
        let mut layer = Self { site: *sites, at, path, spec, weights, panels, absent, children: Vec::new() };
        *sites += 1;
        layer.spec.check().map_err(|what| layer.error(what.into()))?;
        layer.check_weights()?;
        for (name, child) in layer.spec.children() {
            let body = match (child.layer, child.link) {
                (Some(spec), None) => {
                    let path = format!("{}.{name}", layer.path);
                    ChildBody::Own(Box::new(Self::build(extents, spec, at, path, absent, sites, table)?))
                }
                (None, Some(target)) if extents.index(target).is_some() => ChildBody::Link(target),
                (None, Some(target)) => {
                    return Err(layer.error(ConfigError::Link { child: name, target }.into()));
                }
                (own, _) => {
                    let both = own.is_some();
                    return Err(layer.error(ConfigError::Child { child: name, both }.into()));
                }
            };
            layer.children.push(Child { disabled: child.disabled, body });
        }
        Ok(layer)
    }

    /// A layer that stands in the place of this one.
    pub(super) fn replaced_by(&self, spec: LayerSpec, weights: Weights) -> Self {
        let (at, path, panels) = (self.at, self.path.clone(), no_panels(&weights));
        Self { site: self.site, at, path, spec, weights, panels, absent: false, children: Vec::new() }
    }

    fn check_weights(&self) -> Result<()> {
        let roles = if self.absent { Vec::new() } else { self.spec.roles() };
        for RoleShape { role, shape } in &roles {
            let expected = shape.clone();
            match self.weights.get(role) {
                None => return Err(self.error(Problem::MissingWeight { role: *role, expected })),
                Some(store) if store.shape() != expected => {
                    return Err(self.error(Problem::WeightShape {
                        role: *role,
                        expected,
                        found: store.shape().to_vec(),
                    }));
                }
                Some(_) => {}
            }
        }
        match self.weights.keys().find(|role| !roles.iter().any(|r| r.role == **role)) {
            Some(&role) => Err(self.error(Problem::UnexpectedWeight { role })),
            None => Ok(()),
        }
    }

    /// The configuration.
    #[must_use]
    pub fn spec(&self) -> &LayerSpec {
        &self.spec
    }

    /// The grid position of the layer, or of the container that holds it.
    #[must_use]
    pub fn at(&self) -> Coord {
        self.at
    }

    /// The path, for example `layers.3.sequential_layers.1`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether its weights are in memory, or were left in a file.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        !self.absent
    }

    /// The stores, by role.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The layer's weights in another type. Under `loom` one scale serves all of them.
    pub(crate) fn morphed(&self, storage: &Storage) -> Result<Weights> {
        let shared = match storage.numerics {
            _ if self.absent => None,
            Numerics::Standard => None,
            Numerics::Loom => {
                let flat = pack_weights(&self.spec, &self.weights);
                let flat = flat.map_err(|what| self.error(what.into()))?;
                Some(storage.dtype.choose(storage.numerics, &Magnitudes::of(flat)))
            }
        };
        let morphed = self.weights.iter().map(|(&role, store)| {
            let wrong = |source| self.error(Problem::Store { role, source: Box::new(source) });
            Ok((role, storage.morph(role, store, shared).map_err(wrong)?))
        });
        morphed.collect()
    }

    /// Puts other weights into this layer and those inside it.
    pub(crate) fn change_weights(&mut self, change: &mut dyn FnMut(&Layer) -> Result<Weights>) -> Result<()> {
        self.weights = change(self)?;
        self.panels = no_panels(&self.weights);
        self.check_weights()?;
        for child in &mut self.children {
            if let ChildBody::Own(layer) = &mut child.body {
                layer.change_weights(change)?;
            }
        }
        Ok(())
    }

    pub(crate) fn collect_stores<'a>(&'a self, found: &mut Vec<(&'a str, Role, &'a WeightStore)>) {
        found.extend(self.weights.iter().map(|(&role, store)| (self.path.as_str(), role, store)));
        for child in &self.children {
            if let ChildBody::Own(layer) = &child.body {
                layer.collect_stores(found);
            }
        }
    }

    pub(crate) fn children(&self) -> &[Child] {
        &self.children
    }

    /// The store of a role that [`Layer::build`] has checked, or that is optional.
    pub(super) fn store(&self, role: Role) -> Option<&WeightStore> {
        self.weights.get(&role)
    }

    /// The matrix of a role that the configuration always has.
    pub(super) fn matrix(&self, role: Role) -> MatRef<'_> {
        MatRef::store(&self.weights[&role]).kept_in(&self.panels[&role])
    }

    /// The weights of a gain, shift or bias; empty when the layer has none.
    pub(super) fn vector(&self, role: Role) -> Vec<f64> {
        self.store(role).map_or_else(Vec::new, |store| store.iter().collect())
    }

    /// `f32(sum + bias)` for every row of `x`: the linear map of a weight and a bias role.
    pub(super) fn linear(&self, cpu: &Cpu, x: &[f32], depth: usize, weight: Role, bias: Role) -> Vec<f32> {
        let w = self.matrix(weight);
        match self.vector(bias) {
            b if b.is_empty() => matmul(cpu, Rows::packed(x, depth), w, |_, sum| sum as f32),
            b => matmul(cpu, Rows::packed(x, depth), w, |o, sum| (sum + b[o]) as f32),
        }
    }

    pub(crate) fn error(&self, problem: Problem) -> Error {
        Error::Layer { at: self.at, path: self.path.clone(), kind: self.spec.kind().name(), problem: Box::new(problem) }
    }

    /// How many units with the axes `unit_shape` an input of this shape holds: its last axes are those of
    /// the unit, or all axes after the first hold one unit in each sample. Anything else would
    /// read the elements of one sample as those of another.
    pub(super) fn units(&self, shape: &[usize], unit: &'static str, unit_shape: &[usize]) -> Result<usize> {
        let size: usize = unit_shape.iter().product();
        let found = match shape {
            _ if shape.ends_with(unit_shape) => Some(shape[..shape.len() - unit_shape.len()].iter().product()),
            [batch, flat @ ..] if !flat.is_empty() && flat.iter().product::<usize>() == size => Some(*batch),
            [n] if *n == size => Some(1),
            [] if size == 1 => Some(1),
            _ => None,
        };
        found.ok_or_else(|| self.error(Problem::Input { shape: shape.to_vec(), unit, expected: unit_shape.to_vec() }))
    }
}

fn no_panels(weights: &Weights) -> Arc<BTreeMap<Role, OnceLock<Panels>>> {
    Arc::new(weights.keys().map(|&role| (role, OnceLock::new())).collect())
}

/// One run of a network: how it computes and what it remembers.
pub(crate) struct Run<'a> {
    pub(crate) cpu: Cpu,
    pub(crate) links: &'a dyn Links,
    pub(crate) state: &'a mut State,
    /// How often each layer has run so far: a layer that links reach twice has two caches.
    pub(crate) visits: BTreeMap<usize, usize>,
    /// Elements that are kept while the next layer runs, its input aside.
    pub(crate) held: usize,
}

impl Run<'_> {
    /// Runs a layer, or what metacognition has put in its place.
    pub(crate) fn layer(&mut self, layer: &Layer, x: &Tensor, skip: Option<&Tensor>) -> Result<Tensor> {
        let replaced = self.state.replaced.get(&layer.site).map(Arc::clone);
        let layer = replaced.as_deref().unwrap_or(layer);
        if layer.absent && !layer.spec.roles().is_empty() {
            return Err(layer.error(Problem::NotLoaded));
        }
        self.room(layer, layer.spec.family().makes(x.shape()).saturating_add(x.len()))?;
        layer.spec.family().forward(self, layer, x, skip)
    }

    /// `Err` when `needed` elements more are too many.
    pub(super) fn room(&self, layer: &Layer, needed: usize) -> Result<()> {
        let (held, most) = (self.held, self.state.most());
        match held.checked_add(needed) {
            Some(all) if all <= most => Ok(()),
            _ => Err(layer.error(Problem::Room { needed, held, most })),
        }
    }

    /// Runs a child of a container.
    pub(super) fn child(&mut self, child: &Child, x: &Tensor, skip: Option<&Tensor>) -> Result<Tensor> {
        match child.layer(self.links) {
            Some(layer) => self.layer(layer, x, skip),
            None => Ok(x.clone()),
        }
    }
}

impl Cpu {
    /// `f(0), f(1), …` in order, on several cores when that is allowed and `n` > 1.
    pub(super) fn map<T: Send>(&self, n: usize, f: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
        match self.threads() {
            Threads::Multi if n > 1 => (0..n).into_par_iter().map(f).collect(),
            _ => (0..n).map(f).collect(),
        }
    }

    /// `f(i, x[i])` for every element, large arrays on several cores.
    pub(super) fn elements(&self, x: &[f32], f: impl Fn(usize, f32) -> f32 + Send + Sync) -> Vec<f32> {
        /// Elements that one thread makes at a time.
        const SHARE: usize = 1 << 13;
        let share = |s: usize| {
            let start = s * SHARE;
            let these = &x[start..x.len().min(start + SHARE)];
            these.iter().enumerate().map(|(i, &v)| f(start + i, v)).collect::<Vec<f32>>()
        };
        match self.map(x.len().div_ceil(SHARE), share).as_mut_slice() {
            [one] => std::mem::take(one),
            many => many.concat(),
        }
    }

    /// The same instruction set on the calling thread alone.
    pub(super) fn single(&self) -> Cpu {
        Cpu::with(self.isa(), Threads::Single).unwrap_or_else(Cpu::scalar)
    }
}

/// The leading axes of `shape` when its last axis is `width`, otherwise `rows` alone; then `last`.
pub(super) fn leading(shape: &[usize], width: usize, rows: usize, last: usize) -> Vec<usize> {
    match shape {
        [lead @ .., w] if *w == width => lead.iter().copied().chain([last]).collect(),
        _ => vec![rows, last],
    }
}
