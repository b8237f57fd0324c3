//! The adapters of this machine.

/// One way to reach a GPU.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Its place in the list, from 0.
    pub index: usize,
    /// The device's name, without what depends on the machine's processor.
    pub name: String,
    /// The name in lanes and file names.
    pub slug: String,
    /// Driver and version.
    pub driver: String,
    /// Vulkan, Metal or DX12.
    pub backend: String,
    /// What kind of device it is.
    pub kind: &'static str,
    pub(super) inner: wgpu::Adapter,
}

impl Adapter {
    pub(super) fn is_vulkan(&self) -> bool {
        self.inner.get_info().backend == wgpu::Backend::Vulkan
    }

    /// Whether lanes may ask each other, of subgroups of at most 64 that divide a workgroup.
    pub(super) fn has_subgroups(&self) -> bool {
        self.inner.features().contains(wgpu::Features::SUBGROUP) && self.inner.get_info().subgroup_max_size <= 64
    }

    /// Whether a workgroup holds what the kernels of large products need: 512 invocations and 24 KiB.
    pub(super) fn has_large_groups(&self) -> bool {
        let limits = self.inner.limits();
        limits.max_compute_invocations_per_workgroup >= 512 && limits.max_compute_workgroup_storage_size >= 24 << 10
    }

    /// Turns of loops that an invocation may take.
    pub(super) fn turns(&self) -> usize {
        if self.name == "llvmpipe" { 65_000 } else { usize::MAX }
    }

    /// What it can do, as reports and `bedrock gpu probe` name it.
    #[must_use]
    pub fn capabilities(&self) -> Vec<(&'static str, String)> {
        use wgpu::Features;
        let (has, limits) = (self.inner.features(), self.inner.limits());
        let yes = |feature: Features| if has.contains(feature) { "yes" } else { "no" }.to_string();
        let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
        vec![
            ("f64", yes(Features::SHADER_F64)),
            ("i64", yes(Features::SHADER_INT64)),
            ("f16", yes(Features::SHADER_F16)),
            ("SPIR-V as it is", yes(Features::PASSTHROUGH_SHADERS)),
            ("pipeline cache", yes(Features::PIPELINE_CACHE)),
            ("timestamps", yes(Features::TIMESTAMP_QUERY)),
            ("buffer", mib(limits.max_buffer_size)),
            ("storage binding", mib(limits.max_storage_buffer_binding_size)),
            ("workgroup memory", format!("{} KiB", limits.max_compute_workgroup_storage_size / 1024)),
            ("invocations of a workgroup", limits.max_compute_invocations_per_workgroup.to_string()),
            ("workgroups on an axis", limits.max_compute_workgroups_per_dimension.to_string()),
        ]
    }
}

/// Every adapter, in the order in which the system lists them. None without a driver.
#[must_use]
pub fn adapters() -> Vec<Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let mut adapters: Vec<Adapter> = Vec::new();
    for (index, inner) in found.into_iter().enumerate() {
        let info = inner.get_info();
        // lavapipe's name ends in the LLVM version and the width of the processor's vectors.
        let name = info.name.split(" (").next().unwrap_or_default().trim().to_string();
        let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let mut slug = words.map(str::to_lowercase).collect::<Vec<_>>().join("-");
        let twins = adapters.iter().filter(|other: &&Adapter| other.name == name).count();
        if twins > 0 {
            slug = format!("{slug}-{}", twins + 1);
        }
        let driver = [info.driver, info.driver_info].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>();
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "processor",
            wgpu::DeviceType::Other => "other",
        };
        let (driver, backend) = (driver.join(" "), info.backend.to_string());
        adapters.push(Adapter { index, name, slug, driver, backend, kind, inner });
    }
    adapters
}

/// No experimental feature is asked for.
pub(super) fn experimental() -> wgpu::ExperimentalFeatures {
    wgpu::ExperimentalFeatures::disabled()
}
