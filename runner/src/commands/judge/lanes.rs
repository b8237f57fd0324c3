//! The lanes of a call: the processor and the GPUs that cases run on.

use super::{JudgeArgs, LaneArg};
#[cfg(feature = "gpu")]
use crate::stages::device::{self, AdapterError, GpuLane};
use crate::stages::golden::Goldens;
use crate::stages::judge::Verdict;
use crate::stages::manifest::Manifests;
use crate::stages::observation::Observation;
use crate::stages::plan::{Case, Check, Device, PlanError, Selection};
use crate::stages::planted::Faithful;
use crate::stages::report::{CPU, LaneReport, Row};
use crate::stages::run::{Config, Seen, run};

/// Where cases run.
pub(super) enum Lane {
    Cpu,
    #[cfg(feature = "gpu")]
    Gpu(Box<GpuLane>),
}

impl Lane {
    pub(super) fn device(&self) -> Option<&Device> {
        match self {
            Lane::Cpu => None,
            #[cfg(feature = "gpu")]
            Lane::Gpu(lane) => Some(&lane.device),
        }
    }

    pub(super) fn name(&self) -> String {
        self.device().map_or(CPU.into(), Device::lane)
    }

    /// What of the CPU's plan runs here.
    pub(super) fn plan(&self, _manifests: &Manifests, planned: &[Case]) -> Result<Vec<Case>, PlanError> {
        match self {
            Lane::Cpu => Ok(planned.to_vec()),
            #[cfg(feature = "gpu")]
            Lane::Gpu(lane) => crate::stages::plan::on_device(_manifests, planned, &lane.device),
        }
    }
}

/// The lanes of a call.
pub(super) struct Lanes {
    pub(super) lanes: Vec<Lane>,
    /// Why there is no GPU, where that is no failure.
    pub(super) absent: Option<String>,
    /// GPUs that should have run and cannot.
    pub(super) failures: Vec<String>,
}

impl Lanes {
    pub(super) fn open(args: &JudgeArgs, selection: &Selection) -> anyhow::Result<Self> {
        let mut lanes = Self { lanes: Vec::new(), absent: None, failures: Vec::new() };
        if args.wants(LaneArg::Cpu) {
            lanes.lanes.push(Lane::Cpu);
        }
        let checks = &selection.checks;
        let kernel = selection.planets.is_empty() && (checks.is_empty() || checks.contains(&Check::Kernel));
        // A case of another check names its own lane.
        let named = args.explain.as_ref().is_none_or(|id| id.contains("/kernel/"));
        if args.wants(LaneArg::Gpu) && kernel && named {
            lanes.open_gpus(args)?;
        }
        Ok(lanes)
    }

    #[cfg(feature = "gpu")]
    fn open_gpus(&mut self, args: &JudgeArgs) -> anyhow::Result<()> {
        let adapters = match device::chosen(&args.adapter) {
            Ok(adapters) => adapters,
            Err(AdapterError::Absent) => Vec::new(),
            Err(error) => return Err(crate::places::Mistake::of(error).into()),
        };
        for adapter in &adapters {
            match GpuLane::open(adapter, device::options()) {
                Ok(lane) => self.lanes.push(Lane::Gpu(Box::new(lane))),
                Err(what) => self.failures.push(format!("gpu-{}: {what}", adapter.slug)),
            }
        }
        if adapters.is_empty() {
            self.without(args, device::ABSENT);
        }
        Ok(())
    }

    #[cfg(not(feature = "gpu"))]
    fn open_gpus(&mut self, args: &JudgeArgs) -> anyhow::Result<()> {
        self.without(args, "this build has no GPU support; build with the feature gpu");
        Ok(())
    }

    fn without(&mut self, args: &JudgeArgs, why: &str) {
        match args.needs_gpu() {
            true => self.failures.push(format!("gpu: {why}")),
            false => self.absent = Some(why.into()),
        }
    }
}

/// What one lane is to do, then what it showed.
pub(super) struct LaneRun<'a> {
    pub(super) lane: &'a Lane,
    pub(super) cases: Vec<Case>,
    pub(super) judged: Vec<(Observation, Verdict)>,
    pub(super) rows: Vec<Row>,
    pub(super) failures: Vec<String>,
}

impl LaneRun<'_> {
    pub(super) fn report(&self) -> LaneReport {
        let (lane, device) = (self.lane.name(), self.lane.device().cloned());
        LaneReport { lane, share: None, device, rows: self.rows.clone() }
    }

    /// Runs the cases and returns what each showed, in their order.
    pub(super) fn observe(
        &self,
        goldens: &Goldens,
        config: &Config,
        seen: Seen<'_>,
    ) -> anyhow::Result<Vec<Option<Observation>>> {
        match self.lane {
            Lane::Cpu => run(&self.cases, goldens, config, &Faithful, seen),
            #[cfg(feature = "gpu")]
            Lane::Gpu(lane) => lane.run(&self.cases, goldens, config, seen),
        }
    }
}
