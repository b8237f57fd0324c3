//! Layers on a GPU, through wgpu: Vulkan, Metal or DX12.
//!
//! A run is recorded as a list of dispatches (module `tape`), many runs are executed together
//! (`batch`), and every kernel stands as WGSL beside the family or codec that it is the twin of
//! (`kernel`). Weights stay packed on the device; kernels decode them. Where the device has f64 and
//! leaves products and sums apart ([`Probe`]), results are bit for bit those of the CPU. There is no
//! way back to the CPU: what cannot be dispatched is an error.

mod adapter;
mod batch;
mod kernel;
mod pipeline;
mod probe;
mod prune;
mod repeat;
mod tape;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use adapter::{Adapter, adapters};
pub use batch::Ran;
pub(crate) use kernel::{KERNELS, Kernel, SPECIAL, kernels};
use pipeline::{Maker, Pipelines, pipeline_cache};
pub use probe::{Arithmetic, Probe};
pub use repeat::{PlainProduct, Repeat};
pub(crate) use tape::{CacheShape, GpuArray, NONE, Tape};
pub use tape::{Footprint, Limits};
pub(crate) use weights::{Piece, Sums};

use crate::error::{Error, Result};

/// The arithmetic inside an output element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// f64: the same numbers as on the CPU.
    Double,
    /// f32, on devices without f64: near them.
    Single,
}

impl Precision {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Precision::Double => "f64",
            Precision::Single => "f32",
        }
    }
}

/// A change of a kernel's text before it is compiled; tests plant faults with it. It is given the
/// entry point and the text.
pub type Edit = fn(&str, String) -> String;

/// How a device is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The arithmetic; `None` means f64 where the device has it.
    pub precision: Option<Precision>,
    /// Leaves translation to wgpu, so that compilers may fuse products and sums.
    pub plain: bool,
    /// Words that one binding may show; `None` means what the device allows.
    pub binding: Option<usize>,
    /// Folder of compiled pipelines; `None` keeps none.
    pub cache: Option<PathBuf>,
    /// A change of the kernels' text.
    pub edit: Option<Edit>,
}

/// The most that is read of a file of compiled pipelines.
const CACHE_CAP: u64 = 1 << 30;

/// An open device.
#[derive(Debug)]
pub struct Gpu {
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
    options: Options,
    precision: Precision,
    passthrough: bool,
    limits: Limits,
    bindings: wgpu::BindGroupLayout,
    layout: wgpu::PipelineLayout,
    pipelines: Mutex<Pipelines>,
    cache: Option<(wgpu::PipelineCache, PathBuf)>,
    faults: Arc<Mutex<Vec<String>>>,
}

impl Gpu {
    /// Opens an adapter.
    ///
    /// # Errors
    /// [`Error::Device`] when the driver refuses, or when f64 is asked of a device without it.
    pub fn open(adapter: &Adapter, options: Options) -> Result<Self> {
        use wgpu::Features;
        let (has, limits) = (adapter.inner.features(), adapter.inner.limits());
        let wrong = |what: String| Error::Device { adapter: adapter.name.clone(), what };
        let doubles = Features::SHADER_F64 | Features::SHADER_INT64;
        let precision = match (options.precision, has.contains(doubles)) {
            (Some(Precision::Double), false) => return Err(wrong("has no 64-bit arithmetic in shaders".into())),
            (Some(precision), _) => precision,
            (None, true) => Precision::Double,
            (None, false) => Precision::Single,
        };
        let mut wanted = has & Features::PIPELINE_CACHE;
        if precision == Precision::Double {
            wanted |= doubles;
        }
        let passthrough = !options.plain && has.contains(Features::PASSTHROUGH_SHADERS) && adapter.is_vulkan();
        if passthrough {
            wanted |= Features::PASSTHROUGH_SHADERS;
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("loom"),
            required_features: wanted,
            required_limits: limits.clone(),
            memory_hints: wgpu::MemoryHints::Performance,
            experimental_features: adapter::experimental(),
            ..Default::default()
        };
        let opened = pollster::block_on(adapter.inner.request_device(&descriptor));
        let (device, queue) = opened.map_err(|e| wrong(e.to_string()))?;
        let faults: Arc<Mutex<Vec<String>>> = Arc::default();
        let (uncaptured, lost) = (Arc::clone(&faults), Arc::clone(&faults));
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| note(&uncaptured, error.to_string())));
        device.set_device_lost_callback(move |reason, what| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                note(&lost, format!("the device was lost: {what}"));
            }
        });
        let entry = |binding: u32, read_only: bool, has_dynamic_offset: bool| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only },
                has_dynamic_offset,
                min_binding_size: None,
            },
            count: None,
        };
        let bindings = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &[entry(0, true, false), entry(1, false, false), entry(2, true, true)],
        });
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&bindings)],
            immediate_size: 0,
        });
        let cache = options.cache.as_ref().filter(|_| wanted.contains(Features::PIPELINE_CACHE)).map(|folder| {
            let key = wgpu::util::pipeline_cache_key(&adapter.inner.get_info()).unwrap_or_else(|| adapter.slug.clone());
            let file = folder.join(key);
            (pipeline_cache(&device, crate::file::read(&file, CACHE_CAP).ok().as_deref()), file)
        });
        let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size) / 4;
        let binding = options.binding.unwrap_or(usize::MAX).min(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(Self {
            name: adapter.name.clone(),
            device,
            queue,
            precision,
            passthrough,
            limits: Limits {
                binding: binding.min(1 << 31),
                precision,
                subgroups: passthrough && adapter.has_subgroups(),
                large_groups: adapter.has_large_groups(),
                turns: adapter.turns(),
            },
            bindings,
            layout,
            pipelines: Mutex::default(),
            cache,
            faults,
            options,
        })
    }

    /// The arithmetic of its kernels.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What recording has to know of the device.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Pipelines made so far.
    #[must_use]
    pub fn pipelines(&self) -> usize {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Keeps compiled pipelines for the next process, where a cache folder was given.
    ///
    /// # Errors
    /// [`Error::Device`] when the file cannot be written.
    pub fn save_pipelines(&self) -> Result<()> {
        let Some((cache, file)) = &self.cache else { return Ok(()) };
        let Some(data) = cache.get_data() else { return Ok(()) };
        let write = || -> std::io::Result<()> {
            let folder = file.parent().unwrap_or(std::path::Path::new("."));
            std::fs::create_dir_all(folder)?;
            crate::file::replace(file, &data)
        };
        write().map_err(|e| self.fault(format!("cannot write {}: {e}", file.display())))
    }

    fn maker(&self) -> Maker<'_> {
        Maker {
            device: &self.device,
            layout: &self.layout,
            cache: self.cache.as_ref().map(|(cache, _)| cache),
            precision: self.precision,
            passthrough: self.passthrough,
            edit: self.options.edit,
        }
    }

    pub(crate) fn fault(&self, what: String) -> Error {
        Error::Device { adapter: self.name.clone(), what }
    }

    /// What the device has complained of since the last call.
    fn complaints(&self) -> Result<()> {
        let complaints = std::mem::take(&mut *self.faults.lock().unwrap_or_else(PoisonError::into_inner));
        match complaints.first() {
            None => Ok(()),
            Some(first) => Err(self.fault(match complaints.len() {
                1 => first.clone(),
                n => format!("{first} (and {} more)", n - 1),
            })),
        }
    }
}

fn note(faults: &Mutex<Vec<String>>, what: String) {
    faults.lock().unwrap_or_else(PoisonError::into_inner).push(what);
}

/// What survives from one run of a network on a device to the next: keys and values stay there.
#[derive(Debug, Default)]
pub struct GpuState {
    network: Option<u64>,
    caches: Caches,
    calls: BTreeMap<usize, u64>,
}

/// By layer, and by which of its visits in one run.
#[derive(Debug, Default)]
pub(crate) struct Caches(BTreeMap<(usize, usize), Cache>);

/// Keys and values of one layer, on the device.
#[derive(Debug)]
pub(super) struct Cache {
    shape: CacheShape,
    buffer: wgpu::Buffer,
}

impl GpuState {
    /// Ties it to the network with this id, unless it belongs to another.
    pub(crate) fn claim(&mut self, network: u64) -> Result<()> {
        if *self.network.get_or_insert(network) == network { Ok(()) } else { Err(Error::ForeignState) }
    }

    /// What a run left.
    pub(crate) fn update(&mut self, caches: Caches, visits: BTreeMap<usize, usize>) {
        self.caches.0.extend(caches.0);
        visits.into_iter().for_each(|(site, last)| *self.calls.entry(site).or_default() += last as u64 + 1);
    }

    pub(crate) fn shape(&self, place: (usize, usize)) -> CacheShape {
        self.caches.0.get(&place).map(|cache| cache.shape).unwrap_or_default()
    }

    /// How often a layer has run in earlier calls.
    pub(crate) fn calls(&self, site: usize) -> u64 {
        self.calls.get(&site).copied().unwrap_or(0)
    }
}
