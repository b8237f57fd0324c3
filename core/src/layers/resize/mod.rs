//! Other extents along the last axes, by the nearest element or by linear interpolation.
//!
//! Where position o of the result lies among the elements of the input: `half_pixel`
//! `(o + 1/2) in / out - 1/2`, `align` `o (in - 1) / (out - 1)`, `asymmetric` `o in / out`; computed in whole numbers,
//! so that nothing is rounded before a nearest element is chosen. Linear: `sum of x w` over the two neighbours along
//! each axis, the last axis fastest, a weight being the product of those of the axes, the last axis first; in f64 with
//! one rounding.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use super::Recorder;
use super::axes::before_planes;
use super::per_axis::check_extents;
use super::pick::Pick;
use super::{Family, Layer, Run, elements, holdable, rounded};
use crate::error::{ConfigError, Result};
#[cfg(feature = "gpu")]
use crate::gpu::{GpuArray, Kernel, kernels};
use crate::tensor::Tensor;

#[cfg(feature = "gpu")]
kernels! {
    RESIZE = Kernel::weightless("resize", &[include_str!("gpu.wgsl")]);
}

/// Where positions of the result lie among the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Corners {
    /// Elements are areas, and the outer edges of both arrays meet: Keras, JAX, PyTorch's `align_corners=False` and
    /// `nearest-exact`.
    HalfPixel,
    /// The first and last elements of both arrays meet: PyTorch's `align_corners=True`.
    Align,
    /// The first elements meet: PyTorch's `nearest`.
    Asymmetric,
}

/// How a position becomes a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The element at or before the position.
    Floor,
    /// The nearest element, of two the later.
    Nearest,
    /// The nearest element, of two the earlier: ONNX's `round_prefer_floor`.
    NearestDown,
    /// Between the two neighbours.
    Linear,
}

/// Configuration of a resize.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizeSpec {
    /// Extents of the last axes of the input: 1 to 3.
    pub input: Vec<usize>,
    /// Extents that they become.
    pub output: Vec<usize>,
    /// How a position becomes a number.
    pub interpolation: Interpolation,
    /// Where positions of the result lie among the elements.
    pub corners: Corners,
}

/// Two neighbouring elements and their weights.
type Between = [(usize, f64); 2];

impl ResizeSpec {
    /// Where position `o` lies, as a fraction of two whole numbers.
    fn place(&self, o: usize, input: usize, output: usize) -> (i128, i128) {
        let [o, input, output] = [o, input, output].map(|n| n as i128);
        match self.corners {
            Corners::HalfPixel => ((2 * o + 1) * input - output, 2 * output),
            Corners::Align if output == 1 => (0, 1),
            Corners::Align => (o * (input - 1), output - 1),
            Corners::Asymmetric => (o * input, output),
        }
    }

    fn nearest(&self, o: usize, input: usize, output: usize) -> usize {
        let (n, d) = self.place(o, input, output);
        let at = match self.interpolation {
            Interpolation::Nearest => (2 * n + d).div_euclid(2 * d),
            Interpolation::NearestDown => -(d - 2 * n).div_euclid(2 * d),
            Interpolation::Floor | Interpolation::Linear => n.div_euclid(d),
        };
        at.clamp(0, input as i128 - 1) as usize
    }

    fn between(&self, o: usize, input: usize, output: usize) -> Between {
        let (n, d) = self.place(o, input, output);
        let n = n.clamp(0, (input as i128 - 1) * d);
        let (at, rest) = ((n / d) as usize, n % d);
        [(at, (d - rest) as f64 / d as f64), ((at + 1).min(input - 1), rest as f64 / d as f64)]
    }

    fn shape(&self, x: &[usize]) -> Vec<usize> {
        [before_planes(x, &self.input), &self.output].concat()
    }

    /// Which elements are nearest.
    fn pick(&self, planes: usize) -> Pick {
        let whole: Vec<usize> = [planes].into_iter().chain(self.input.iter().copied()).collect();
        let axes = self.input.iter().zip(&self.output).enumerate();
        axes.fold(Pick::all(&whole), |pick, (axis, (&input, &output))| {
            pick.along(axis + 1, (0..output).map(|o| Some(self.nearest(o, input, output))))
        })
    }

    /// For each axis, the slowest first, the neighbours of its positions; places in steps along the input.
    fn tables(&self) -> Vec<Vec<Between>> {
        let axes = self.input.iter().zip(&self.output).enumerate();
        let table = |(axis, (&input, &output)): (usize, (&usize, &usize))| {
            let step = elements(&self.input[axis + 1..]);
            (0..output).map(|o| self.between(o, input, output).map(|(at, w)| (at * step, w))).collect()
        };
        axes.map(table).collect()
    }
}

impl Family for ResizeSpec {
    fn check(&self) -> std::result::Result<(), ConfigError> {
        check_extents("input", &self.input, 1..=3)?;
        check_extents("output", &self.output, self.input.len()..=self.input.len())?;
        holdable("the input of a plane", &self.input)?;
        holdable("the output of a plane", &self.output)
    }

    fn terms(&self) -> usize {
        1 << self.input.len()
    }

    fn makes(&self, shape: &[usize]) -> usize {
        elements(&self.shape(shape))
            .saturating_add(self.output.iter().fold(0, |sum, n| n.saturating_mul(8).saturating_add(sum)))
    }

    fn forward(&self, run: &mut Run<'_>, layer: &Layer, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let planes = layer.units(x.shape(), "planes", &self.input)?;
        if self.interpolation != Interpolation::Linear {
            return Ok(Tensor::of(self.shape(x.shape()), self.pick(planes).of(x.data())));
        }
        let (tables, n) = (self.tables(), elements(&self.input));
        let (axes, outputs) = (tables.len(), elements(&self.output));
        let planes = run.cpu.map(planes, |p| {
            let plane = &x.data()[p * n..(p + 1) * n];
            let element = |o: usize| {
                let mut sum = 0.0;
                for corner in 0..1usize << axes {
                    let (mut rest, mut at, mut weight) = (o, 0, 1.0);
                    for (axis, table) in tables.iter().rev().enumerate() {
                        let (place, w) = table[rest % table.len()][corner >> axis & 1];
                        rest /= table.len();
                        at += place;
                        weight *= w;
                    }
                    sum += f64::from(plane[at]) * weight;
                }
                rounded(sum)
            };
            (0..outputs).map(element).collect::<Vec<f32>>()
        });
        Ok(Tensor::of(self.shape(x.shape()), planes.concat()))
    }

    #[cfg(feature = "gpu")]
    fn record(
        &self,
        recorder: &mut Recorder<'_>,
        layer: &Layer,
        x: &GpuArray,
        _: Option<&GpuArray>,
    ) -> Result<GpuArray> {
        let planes = layer.units(&x.shape, "planes", &self.input)?;
        let shape = self.shape(&x.shape);
        recorder.room(layer, self.makes(&x.shape))?;
        if self.interpolation != Interpolation::Linear {
            return Ok(recorder.pick(layer, x, &self.pick(planes))?.reshaped(shape));
        }
        let y = recorder.tape.array(shape);
        let mut args = vec![x.at, y.at, self.input.len() as u32];
        for table in self.tables().iter().rev() {
            let entry = |&[(a, v), (b, w)]: &Between| {
                let weights = [v, w].map(|w| recorder.tape.real(w));
                [a as u32, b as u32].into_iter().chain(weights.concat())
            };
            let words = table.iter().flat_map(entry).collect();
            args.extend([table.len() as u32, recorder.tape.constant(words)]);
        }
        args.push(elements(&self.input) as u32);
        recorder.tape.op(RESIZE, y.len(), args);
        Ok(y)
    }
}
