//! From kernels to pipelines.
//!
//! One pipeline serves one kernel and one way to decode weights ([`DecodeRule`]), which is an override
//! constant. Where the device takes SPIR-V as it is, naga translates the text and every operation
//! that a compiler could fuse or reorder is decorated with `NoContraction`, which naga itself never
//! does; elsewhere the text goes to wgpu, and the probe says what that costs.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use naga::back::spv;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use rayon::prelude::*;

use super::kernel::{DecodeRule, Kernel};
use super::{Precision, prune};

/// Why the text of a kernel does not become SPIR-V.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untranslated {
    /// It is no WGSL.
    #[error("{}", error.emit_to_string(text))]
    Text { error: naga::front::wgsl::ParseError, text: String },
    /// What it says is not allowed.
    #[error("{}", error.emit_to_string(text))]
    Module { error: Box<naga::WithSpan<naga::valid::ValidationError>>, text: String },
    /// The rule does not fit its constants.
    #[error(transparent)]
    Constants(Box<naga::back::pipeline_constants::PipelineConstantError>),
    /// SPIR-V has no words for it.
    #[error(transparent)]
    Words(#[from] spv::Error),
    /// Translated, it ends within an instruction.
    #[error("SPIR-V that ends within an instruction")]
    Cut { words: usize },
}

/// A kernel that cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[error("kernel {kernel} cannot be compiled: {error}")]
pub(super) struct CompileError {
    kernel: &'static str,
    error: Untranslated,
}

/// A kernel's text as SPIR-V whose arithmetic is neither fused nor reordered.
pub(super) fn spirv(kernel: &Kernel, rule: DecodeRule, text: &str) -> Result<Vec<u32>, Untranslated> {
    let module = naga::front::wgsl::parse_str(text).map_err(|error| Untranslated::Text { error, text: text.into() })?;
    let info = validated(&module, text)?;
    let constants: naga::back::PipelineConstants = [("RULE".to_string(), rule.number())].into_iter().collect();
    let entry = (naga::ShaderStage::Compute, kernel.name());
    let (module, _) = naga::back::pipeline_constants::process_overrides(&module, &info, Some(entry), &constants)
        .map_err(|error| Untranslated::Constants(Box::new(error)))?;
    let mut module = module.into_owned();
    prune::decided(&mut module);
    naga::compact::compact(&mut module, naga::compact::KeepUnused::No);
    let info = validated(&module, text)?;
    let options = spv::Options {
        lang_version: (1, 3),
        flags: spv::WriterFlags::empty(),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..spv::Options::default()
    };
    let entry = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: kernel.name().into() };
    let words = spv::write_vec(&module, &info, &options, Some(&entry))?;
    undisturbed(&words).ok_or(Untranslated::Cut { words: words.len() })
}

fn validated(module: &naga::Module, text: &str) -> Result<naga::valid::ModuleInfo, Untranslated> {
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    validator.validate(module).map_err(|error| Untranslated::Module { error: Box::new(error), text: text.into() })
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
pub(super) struct Pipelines(HashMap<(&'static Kernel, DecodeRule), wgpu::ComputePipeline>);

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
    pub(super) fn text(&self, kernel: &Kernel) -> String {
        let text = kernel.source(self.precision);
        self.edit.map_or(text.clone(), |edit| edit(kernel.name(), text))
    }

    pub(super) fn make(&self, kernel: &Kernel, rule: DecodeRule) -> Result<wgpu::ComputePipeline, CompileError> {
        let text = self.text(kernel);
        let label = Some(kernel.name());
        let module = if self.passthrough {
            let words = spirv(kernel, rule, &text).map_err(|error| CompileError { kernel: kernel.name(), error })?;
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
    pub(super) fn prepare(
        &mut self,
        maker: &Maker<'_>,
        keys: &BTreeSet<(&'static Kernel, DecodeRule)>,
    ) -> Result<(), CompileError> {
        let missing: Vec<_> = keys.iter().filter(|key| !self.0.contains_key(key)).collect();
        let made: Result<Vec<_>, CompileError> =
            missing.into_par_iter().map(|key| Ok((*key, maker.make(key.0, key.1)?))).collect();
        self.0.extend(made?);
        Ok(())
    }

    /// A pipeline that was prepared.
    pub(super) fn get(&self, key: (&'static Kernel, DecodeRule)) -> Option<&wgpu::ComputePipeline> {
        self.0.get(&key)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[expect(unsafe_code, reason = "wgpu takes SPIR-V unchecked: naga has validated the module and written it")]
fn passthrough(device: &wgpu::Device, kernel: &Kernel, words: Vec<u32>) -> wgpu::ShaderModule {
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
