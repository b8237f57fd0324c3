//! The kernels: where their text stands, and how it becomes a pipeline.
//!
//! One pipeline serves one kernel and one way to decode weights ([`Ruled`]), which is an override
//! constant. Where the device takes SPIR-V as it is, naga translates the text and every operation
//! that a compiler could fuse or reorder is decorated with `NoContraction`, which naga itself never
//! does; elsewhere the text goes to wgpu, and the probe says what that costs.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use naga::back::spv;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use rayon::prelude::*;

use super::{Precision, prune};

/// A kernel. The name is its entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kernel {
    Probe,
    #[cfg(test)]
    Twin,
    Decode,
    Dense,
    Gemv,
    GemvNarrow,
    Gemm,
    Conv,
    ConvTransposed,
    Embedding,
    Rnn,
    Lstm,
    RmsNorm,
    LayerNorm,
    MhaPlace,
    MhaScores,
    MhaSoftmax,
    MhaMix,
    SwiGlu,
    Residual,
    Softmax,
    ParallelPlace,
    ParallelGate,
    ParallelSum,
    KMeansLogits,
    KMeansAssign,
    KMeansMix,
    PlainGemv,
    PlainGemm,
    PlainCopy,
}

macro_rules! shader {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/", $path))
    };
}

const ROW: &str = shader!("layers/softmax/row.wgsl");
const NORM_ROW: &str = shader!("layers/norm/row.wgsl");
const SCAN: &str = shader!("layers/rnn/scan.wgsl");

impl Kernel {
    /// The entry point.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kernel::Probe => "probe",
            #[cfg(test)]
            Kernel::Twin => "twin",
            Kernel::Decode => "decode",
            Kernel::Dense => "dense",
            Kernel::Gemv => "gemv",
            Kernel::GemvNarrow => "gemv_narrow",
            Kernel::Gemm => "gemm",
            Kernel::Conv => "conv",
            Kernel::ConvTransposed => "conv_transposed",
            Kernel::Embedding => "embedding",
            Kernel::Rnn => "rnn",
            Kernel::Lstm => "lstm",
            Kernel::RmsNorm => "rmsnorm",
            Kernel::LayerNorm => "layernorm",
            Kernel::MhaPlace => "mha_place",
            Kernel::MhaScores => "mha_scores",
            Kernel::MhaSoftmax => "mha_softmax",
            Kernel::MhaMix => "mha_mix",
            Kernel::SwiGlu => "swiglu",
            Kernel::Residual => "residual",
            Kernel::Softmax => "softmax",
            Kernel::ParallelPlace => "parallel_place",
            Kernel::ParallelGate => "parallel_gate",
            Kernel::ParallelSum => "parallel_sum",
            Kernel::KMeansLogits => "kmeans_logits",
            Kernel::KMeansAssign => "kmeans_assign",
            Kernel::KMeansMix => "kmeans_mix",
            Kernel::PlainGemv => "plain_gemv",
            Kernel::PlainGemm => "plain_gemm",
            Kernel::PlainCopy => "plain_copy",
        }
    }

    /// Those that decode weights.
    pub(super) const WEIGHTED: &'static [Kernel] = &[
        Kernel::Decode,
        Kernel::Dense,
        Kernel::Conv,
        Kernel::ConvTransposed,
        Kernel::Embedding,
        Kernel::Rnn,
        Kernel::Lstm,
        Kernel::KMeansLogits,
        Kernel::KMeansMix,
    ];

    /// The others that networks use.
    pub(super) const OTHERS: &'static [Kernel] = &[
        Kernel::RmsNorm,
        Kernel::LayerNorm,
        Kernel::MhaPlace,
        Kernel::MhaScores,
        Kernel::MhaSoftmax,
        Kernel::MhaMix,
        Kernel::SwiGlu,
        Kernel::Residual,
        Kernel::Softmax,
        Kernel::ParallelPlace,
        Kernel::ParallelGate,
        Kernel::ParallelSum,
        Kernel::KMeansAssign,
    ];

    /// What stands beside its family, after the common part.
    fn texts(self) -> &'static [&'static str] {
        match self {
            Kernel::Probe => &[shader!("backend/gpu/probe.wgsl")],
            #[cfg(test)]
            Kernel::Twin => &[shader!("math/twin.wgsl")],
            Kernel::Decode => &[shader!("dtype/decode.wgsl")],
            Kernel::Dense => &[shader!("layers/dense/gpu.wgsl")],
            Kernel::Gemv => &[shader!("layers/dense/gemv.wgsl")],
            Kernel::GemvNarrow => &[shader!("layers/dense/gemv_narrow.wgsl")],
            Kernel::Gemm => &[shader!("layers/dense/gemm.wgsl")],
            Kernel::Conv => &[shader!("layers/conv/gpu.wgsl")],
            Kernel::ConvTransposed => &[shader!("layers/conv_transposed/gpu.wgsl")],
            Kernel::Embedding => &[shader!("layers/embedding/gpu.wgsl")],
            Kernel::Rnn => &[SCAN, shader!("layers/rnn/gpu.wgsl")],
            Kernel::Lstm => &[SCAN, shader!("layers/lstm/gpu.wgsl")],
            Kernel::RmsNorm | Kernel::LayerNorm => &[NORM_ROW, shader!("layers/norm/gpu.wgsl")],
            Kernel::MhaPlace | Kernel::MhaScores | Kernel::MhaSoftmax | Kernel::MhaMix => {
                &[NORM_ROW, ROW, shader!("layers/mha/gpu.wgsl")]
            }
            Kernel::PlainGemv | Kernel::PlainGemm | Kernel::PlainCopy => &[shader!("backend/gpu/plain.wgsl")],
            Kernel::SwiGlu => &[shader!("layers/swiglu/gpu.wgsl")],
            Kernel::Residual => &[shader!("layers/residual/gpu.wgsl")],
            Kernel::Softmax => &[ROW, shader!("layers/softmax/gpu.wgsl")],
            Kernel::ParallelPlace | Kernel::ParallelGate | Kernel::ParallelSum => {
                &[ROW, shader!("layers/parallel/gpu.wgsl")]
            }
            Kernel::KMeansLogits | Kernel::KMeansAssign | Kernel::KMeansMix => {
                &[ROW, shader!("layers/kmeans/gpu.wgsl")]
            }
        }
    }

    /// Items that one workgroup makes.
    pub(super) fn per_group(self) -> u32 {
        match self {
            Kernel::Rnn | Kernel::Lstm | Kernel::Gemm => 1,
            Kernel::PlainGemv | Kernel::PlainGemm | Kernel::PlainCopy => 1,
            Kernel::Gemv => 32,
            _ => 64,
        }
    }

    /// The whole text in one precision.
    pub(super) fn source(self, precision: Precision) -> String {
        let (real, math, weights) = match precision {
            Precision::Double => {
                (shader!("backend/gpu/double.wgsl"), shader!("math/double.wgsl"), shader!("dtype/double.wgsl"))
            }
            Precision::Single => {
                (shader!("backend/gpu/single.wgsl"), shader!("math/single.wgsl"), shader!("dtype/single.wgsl"))
            }
        };
        let common = [
            shader!("backend/gpu/common.wgsl"),
            real,
            math,
            shader!("dtype/codes.wgsl"),
            weights,
            shader!("dtype/sum.wgsl"),
            shader!("layers/activation.wgsl"),
        ];
        common.iter().chain(self.texts()).copied().collect::<Vec<_>>().join("\n")
    }
}

/// How a pipeline decodes weights: RULE in `dtype/double.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Ruled {
    /// A table of values. Kernels without weights say this too.
    Plain = -1,
    Table = 0,
    Narrow = 1,
    Half = 2,
    Bfloat = 3,
    Single = 4,
    Double = 5,
    Short = 6,
    Long = 7,
    LongFull = 8,
    Longer = 9,
    LongerFull = 10,
}

impl Ruled {
    /// Every way.
    pub(super) const ALL: [Ruled; 12] = [
        Ruled::Plain,
        Ruled::Table,
        Ruled::Narrow,
        Ruled::Half,
        Ruled::Bfloat,
        Ruled::Single,
        Ruled::Double,
        Ruled::Short,
        Ruled::Long,
        Ruled::LongFull,
        Ruled::Longer,
        Ruled::LongerFull,
    ];

    /// The value of the override constant.
    fn number(self) -> f64 {
        f64::from((self as i32).max(0))
    }
}

/// A kernel's text as SPIR-V whose arithmetic is neither fused nor reordered.
pub(super) fn spirv(kernel: Kernel, rule: Ruled, text: &str) -> Result<Vec<u32>, String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .map_err(|e| e.emit_to_string(text))?;
    let constants: naga::back::PipelineConstants = [("RULE".to_string(), rule.number())].into_iter().collect();
    let entry = (naga::ShaderStage::Compute, kernel.name());
    let (module, _) = naga::back::pipeline_constants::process_overrides(&module, &info, Some(entry), &constants)
        .map_err(|e| e.to_string())?;
    let mut module = module.into_owned();
    prune::decided(&mut module);
    naga::compact::compact(&mut module, naga::compact::KeepUnused::No);
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .map_err(|e| e.emit_to_string(text))?;
    let options = spv::Options {
        lang_version: (1, 3),
        flags: spv::WriterFlags::empty(),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..spv::Options::default()
    };
    let entry = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: kernel.name().into() };
    let words = spv::write_vec(&module, &info, &options, Some(&entry)).map_err(|e| e.to_string())?;
    undisturbed(&words).ok_or_else(|| "SPIR-V that ends within an instruction".to_string())
}

/// Decorates every result of floating-point arithmetic with `NoContraction` (SPIR-V 1.3, 3.20).
fn undisturbed(words: &[u32]) -> Option<Vec<u32>> {
    const HEADER: usize = 5;
    const DECORATE: u32 = 71;
    const NO_CONTRACTION: u32 = 42;
    // Types and what follows them come after all decorations.
    const TYPE_VOID: u32 = 19;
    const TYPE_FORWARD_POINTER: u32 = 39;
    // FNegate, FAdd, FSub, FMul, FDiv, FRem, FMod, products of vectors and matrices, Dot.
    let is_arithmetic = |op: u32| matches!(op, 127 | 129 | 131 | 133 | 136 | 140 | 141 | 142..=148);
    let (mut place, mut results) = (None, Vec::new());
    let mut at = HEADER;
    while at < words.len() {
        let (op, length) = (words[at] & 0xffff, (words[at] >> 16) as usize);
        if length == 0 || at + length > words.len() {
            return None;
        }
        if place.is_none() && (TYPE_VOID..=TYPE_FORWARD_POINTER).contains(&op) {
            place = Some(at);
        }
        if is_arithmetic(op) {
            results.push(words[at + 2]);
        }
        at += length;
    }
    let place = place?;
    let decorations = results.iter().flat_map(|&id| [3 << 16 | DECORATE, id, NO_CONTRACTION]);
    Some(words[..place].iter().copied().chain(decorations).chain(words[place..].iter().copied()).collect())
}

/// The pipelines of a device, made when they are first asked for.
#[derive(Debug, Default)]
pub(super) struct Pipelines(HashMap<(Kernel, Ruled), wgpu::ComputePipeline>);

/// What a pipeline is made with.
pub(super) struct Maker<'a> {
    pub(super) device: &'a wgpu::Device,
    pub(super) layout: &'a wgpu::PipelineLayout,
    pub(super) cache: Option<&'a wgpu::PipelineCache>,
    pub(super) precision: Precision,
    /// Whether SPIR-V may be handed over as it is.
    pub(super) passthrough: bool,
    pub(super) edit: Option<super::Edit>,
}

impl Maker<'_> {
    /// The text of a kernel as it is compiled.
    pub(super) fn text(&self, kernel: Kernel) -> String {
        let text = kernel.source(self.precision);
        self.edit.map_or(text.clone(), |edit| edit(kernel.name(), text))
    }

    pub(super) fn make(&self, kernel: Kernel, rule: Ruled) -> Result<wgpu::ComputePipeline, String> {
        let text = self.text(kernel);
        let wrong = |what: String| format!("kernel {} cannot be compiled: {what}", kernel.name());
        let label = Some(kernel.name());
        let module = if self.passthrough {
            let words = spirv(kernel, rule, &text).map_err(wrong)?;
            passthrough(self.device, kernel, words)
        } else {
            let source = wgpu::ShaderSource::Wgsl(Cow::Owned(text));
            self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source })
        };
        let constants: &[(&str, f64)] = if self.passthrough { &[] } else { &[("RULE", rule.number())] };
        let compilation_options =
            wgpu::PipelineCompilationOptions { constants, zero_initialize_workgroup_memory: false };
        Ok(self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(self.layout),
            module: &module,
            entry_point: Some(kernel.name()),
            compilation_options,
            cache: self.cache,
        }))
    }
}

impl Pipelines {
    /// Makes those of `keys` that are not there yet, on several cores.
    pub(super) fn prepare(&mut self, maker: &Maker<'_>, keys: &BTreeSet<(Kernel, Ruled)>) -> Result<(), String> {
        let missing: Vec<_> = keys.iter().filter(|key| !self.0.contains_key(key)).collect();
        let made: Result<Vec<_>, String> =
            missing.into_par_iter().map(|key| Ok((*key, maker.make(key.0, key.1)?))).collect();
        self.0.extend(made?);
        Ok(())
    }

    /// A pipeline that was prepared.
    pub(super) fn get(&self, key: (Kernel, Ruled)) -> Option<&wgpu::ComputePipeline> {
        self.0.get(&key)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[expect(unsafe_code, reason = "wgpu takes SPIR-V unchecked: naga has validated the module and written it")]
fn passthrough(device: &wgpu::Device, kernel: Kernel, words: Vec<u32>) -> wgpu::ShaderModule {
    let workgroup_size = (kernel.invocations(), 1, 1);
    let entry = wgpu::PassthroughShaderEntryPoint { name: kernel.name().into(), workgroup_size };
    let descriptor = wgpu::ShaderModuleDescriptorPassthrough {
        label: Some(kernel.name()),
        entry_points: vec![entry].into(),
        spirv: Some(words.into()),
        ..Default::default()
    };
    // SAFETY: the words are naga's translation of a module that it validated, and decorations.
    unsafe { device.create_shader_module_passthrough(descriptor) }
}

/// A store of compiled pipelines that the driver filled in an earlier process.
#[expect(unsafe_code, reason = "wgpu trusts the data of a pipeline cache; drivers check their own header")]
pub(super) fn pipeline_cache(device: &wgpu::Device, data: Option<&[u8]>) -> wgpu::PipelineCache {
    let descriptor = wgpu::PipelineCacheDescriptor { label: None, data, fallback: true };
    // SAFETY: the data is what `get_data` returned for this adapter and driver, by the file's name.
    unsafe { device.create_pipeline_cache(&descriptor) }
}

impl Kernel {
    /// Invocations of a workgroup.
    fn invocations(self) -> u32 {
        match self {
            Kernel::Rnn | Kernel::Lstm => 128,
            Kernel::GemvNarrow => 512,
            Kernel::Gemv | Kernel::Gemm | Kernel::PlainGemm | Kernel::PlainCopy => 256,
            _ => 64,
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_translates() {
        let doubles = [Kernel::Twin, Kernel::Gemv, Kernel::GemvNarrow];
        let rest = [Kernel::Probe, Kernel::Gemm, Kernel::PlainGemv, Kernel::PlainGemm, Kernel::PlainCopy];
        for &kernel in Kernel::WEIGHTED.iter().chain(Kernel::OTHERS).chain(&doubles).chain(&rest) {
            for precision in [Precision::Double, Precision::Single] {
                if doubles.contains(&kernel) && precision == Precision::Single {
                    continue;
                }
                let text = kernel.source(precision);
                for rule in Ruled::ALL {
                    if let Err(e) = spirv(kernel, rule, &text) {
                        panic!("{} {precision:?} {rule:?}: {e}", kernel.name());
                    }
                }
            }
        }
    }
}
