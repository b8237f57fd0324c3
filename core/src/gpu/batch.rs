//! Executes tapes: cells of many networks share an arena, an encoder and a readback, and what they
//! do at the same step with the same pipeline is one dispatch.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use super::kernel::{DecodeRule, Kernel};
use super::tape::{GUARD, RECORD, Tape};
use super::{Cache, Caches, Gpu, GpuState};
use crate::error::Result;
use crate::tensor::Tensor;

/// What guards are made of.
const GUARD_WORD: u32 = 0x5afe_c0de;
/// What arrays hold before anything is written: two NaN patterns, one for each run of a cell.
const POISON: [u32; 2] = [0x7fc0_dead, 0xffff_ffff];
/// How long a submission may take before the device counts as hung.
const PATIENCE: Duration = Duration::from_secs(120);
/// Workgroups on one axis, which every device allows.
const MOST_GROUPS: u32 = 65_535;

/// What a cell showed.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The output of the first run.
    pub output: Tensor,
    /// Elements whose bits differ in the second run.
    pub unstable: usize,
    /// Guard words that a kernel has overwritten.
    pub broken_guards: usize,
    /// Dispatches of the cell.
    pub dispatches: usize,
}

impl Gpu {
    /// Runs cells twice.
    pub(crate) fn execute(&self, tapes: &[&Tape<'_>]) -> Result<Vec<Ran>> {
        let batch = Batch::new(self, tapes)?;
        let first = batch.run(POISON[0], &GpuState::default())?;
        let second = batch.run(POISON[1], &GpuState::default())?;
        let ran = tapes.iter().zip(first.iter().zip(&second)).map(|(tape, (a, b))| {
            let n = tape.output.len();
            let unstable = a[..n].iter().zip(&b[..n]).filter(|(a, b)| a != b).count();
            let broken = |words: &[u32]| words[n..].iter().filter(|&&word| word != GUARD_WORD).count();
            let data = a[..n].iter().map(|&bits| f32::from_bits(bits)).collect();
            Ran {
                output: Tensor::of(tape.output.shape.clone(), data),
                unstable,
                broken_guards: broken(a) + broken(b),
                dispatches: tape.ops.len(),
            }
        });
        Ok(ran.collect())
    }

    /// Runs one cell once, with the state it was recorded with; what it keeps comes back.
    pub(crate) fn execute_one(&self, tape: &Tape<'_>) -> Result<(Ran, Caches)> {
        let tapes = [tape];
        let batch = Batch::new(self, &tapes)?;
        let words = batch.run(POISON[0], tape.state)?;
        let n = tape.output.len();
        let data = words[0][..n].iter().map(|&bits| f32::from_bits(bits)).collect();
        let ran = Ran {
            output: Tensor::of(tape.output.shape.clone(), data),
            unstable: 0,
            broken_guards: words[0][n..].iter().filter(|&&word| word != GUARD_WORD).count(),
            dispatches: tape.ops.len(),
        };
        Ok((ran, batch.keep(tape)?))
    }

    pub(super) fn buffer(&self, words: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        // Empty buffers cannot be bound.
        let size = 4 * words.max(4).next_multiple_of(4) as u64;
        self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    }

    /// Submits and waits.
    pub(super) fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<()> {
        let submission_index = Some(self.queue.submit([encoder.finish()]));
        let waited = self.device.poll(wgpu::PollType::Wait { submission_index, timeout: Some(PATIENCE) });
        self.complaints()?;
        waited.map(|_| ()).map_err(|e| self.fault(format!("waiting for the device failed: {e}")))
    }

    /// The words of a buffer that can be mapped.
    pub(super) fn read(&self, buffer: &wgpu::Buffer, words: usize) -> Result<Vec<u32>> {
        let (send, receive) = mpsc::channel();
        buffer.map_async(wgpu::MapMode::Read, ..4 * words as u64, move |mapped| {
            let _ = send.send(mapped);
        });
        let waited = self.device.poll(wgpu::PollType::Wait { submission_index: None, timeout: Some(PATIENCE) });
        self.complaints()?;
        waited.map_err(|e| self.fault(format!("waiting for the device failed: {e}")))?;
        match receive.recv_timeout(PATIENCE) {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(self.fault(format!("its memory cannot be read: {e}"))),
            Err(_) => return Err(self.fault("its memory was not handed over".into())),
        }
        let view = buffer.get_mapped_range(..4 * words as u64).map_err(|e| self.fault(e.to_string()))?;
        let words = view.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
        drop(view);
        buffer.unmap();
        Ok(words)
    }

    pub(super) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None })
    }

    /// Binds codes, an arena and as many words of parameters as a dispatch reads.
    pub(super) fn bind(
        &self,
        codes: &wgpu::Buffer,
        arena: &wgpu::Buffer,
        params: &wgpu::Buffer,
        shown: usize,
    ) -> wgpu::BindGroup {
        let shown = wgpu::BufferBinding { buffer: params, offset: 0, size: std::num::NonZero::new(4 * shown as u64) };
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.bindings,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: codes.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: arena.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 2, resource: wgpu::BindingResource::Buffer(shown) },
            ],
        })
    }

    fn upload(&self, buffer: &wgpu::Buffer, words: &[u32]) {
        self.queue.write_buffer(buffer, 0, bytemuck::cast_slice(words));
    }
}

/// One dispatch: which records, and how many workgroups.
struct Dispatch {
    kernel: &'static Kernel,
    rule: DecodeRule,
    segment: usize,
    record: usize,
    groups: [u32; 3],
}

/// Cells that run together.
pub(super) struct Batch<'a> {
    gpu: &'a Gpu,
    tapes: &'a [&'a Tape<'a>],
    /// First word of each cell's arena.
    bases: Vec<usize>,
    words: usize,
    arena: wgpu::Buffer,
    readback: wgpu::Buffer,
    groups: Vec<wgpu::BindGroup>,
    dispatches: Vec<Dispatch>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(gpu: &'a Gpu, tapes: &'a [&'a Tape<'a>]) -> Result<Self> {
        use wgpu::BufferUsages;
        let (mut bases, mut code_bases, mut words) = (Vec::new(), Vec::new(), 0);
        // One cell may have several segments; cells that have one share the first.
        let mut segments: Vec<Vec<u32>> = vec![Vec::new()];
        for tape in tapes {
            bases.push(words);
            words += tape.words;
            code_bases.push(segments[0].len());
            for (s, segment) in tape.segments.iter().enumerate() {
                if s == segments.len() {
                    segments.push(Vec::new());
                }
                let base = segments[s].len();
                segments[s].resize(base + segment.words, 0);
                for (at, bytes) in &segment.parts {
                    let words = &mut segments[s][base + at..];
                    let space: &mut [u8] = bytemuck::cast_slice_mut(words);
                    space[..bytes.len()].copy_from_slice(bytes);
                }
            }
        }
        let (dispatches, records) = schedule(tapes, &bases, &code_bases);
        let most = dispatches.iter().map(|d| d.groups[2] as usize).max().unwrap_or(1);
        let shown = most * RECORD;
        let mut records = records;
        // A binding shows as many records from the last one on as from any other.
        records.resize(records.len() + shown, 0);
        let storage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let params = gpu.buffer(records.len(), storage);
        gpu.upload(&params, &records);
        let arena = gpu.buffer(words, storage | BufferUsages::COPY_SRC);
        let out: usize = tapes.iter().map(|tape| tape.output.len() + GUARD * tape.guards.len()).sum();
        let readback = gpu.buffer(out, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        let mut groups = Vec::new();
        for words in &segments {
            let codes = gpu.buffer(words.len(), storage);
            gpu.upload(&codes, words);
            groups.push(gpu.bind(&codes, &arena, &params, shown));
        }
        gpu.complaints()?;
        Ok(Self { gpu, tapes, bases, words, arena, readback, groups, dispatches })
    }

    /// The arena before the first dispatch.
    fn image(&self, poison: u32) -> Vec<u32> {
        let mut image = vec![poison; self.words.max(4)];
        for (tape, base) in self.tapes.iter().zip(&self.bases) {
            for (at, words) in &tape.uploads {
                image[base + *at as usize..][..words.len()].copy_from_slice(words);
            }
            for &at in &tape.guards {
                image[base + at as usize..][..GUARD].fill(GUARD_WORD);
            }
        }
        image
    }

    /// Puts inputs, tables and guards in place, and `poison` everywhere else.
    pub(super) fn upload(&self, poison: u32) {
        self.gpu.upload(&self.arena, &self.image(poison));
    }

    /// Every dispatch, as often as is said.
    pub(super) fn encode(&self, encoder: &mut wgpu::CommandEncoder, times: usize) -> Result<()> {
        let gpu = self.gpu;
        let mut pipelines = gpu.pipelines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let keys = self.dispatches.iter().map(|dispatch| (dispatch.kernel, dispatch.rule)).collect();
        pipelines.prepare(&gpu.maker(), &keys).map_err(|e| gpu.fault(e.to_string()))?;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for Dispatch { kernel, rule, segment, record, groups } in (0..times).flat_map(|_| &self.dispatches) {
            let Some(pipeline) = pipelines.get((*kernel, *rule)) else { continue };
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, &self.groups[*segment], &[(4 * RECORD * record) as u32]);
            pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
        }
        Ok(())
    }

    /// Runs every dispatch; each cell's output and guards.
    fn run(&self, poison: u32, state: &GpuState) -> Result<Vec<Vec<u32>>> {
        let gpu = self.gpu;
        self.upload(poison);
        let mut encoder = gpu.encoder();
        for (tape, base) in self.tapes.iter().zip(&self.bases) {
            for restored in &tape.restored {
                let Some(cache) = state.caches.0.get(&restored.place) else { continue };
                let shape = restored.shape;
                let run = shape.positions * shape.width;
                for (which, to) in restored.to.into_iter().enumerate() {
                    for b in 0..shape.batch {
                        let from = (which * shape.batch + b) * run;
                        let to = base + to as usize + b * restored.stride;
                        encoder.copy_buffer_to_buffer(&cache.buffer, bytes(from), &self.arena, bytes(to), bytes(run));
                    }
                }
            }
        }
        self.encode(&mut encoder, 1)?;
        let mut at = 0;
        for (tape, base) in self.tapes.iter().zip(&self.bases) {
            let mut copy = |from: usize, words: usize| {
                if words > 0 {
                    let (from, to) = (bytes(base + from), bytes(at));
                    encoder.copy_buffer_to_buffer(&self.arena, from, &self.readback, to, bytes(words));
                }
                at += words;
            };
            copy(tape.output.at as usize, tape.output.len());
            tape.guards.iter().for_each(|&guard| copy(guard as usize, GUARD));
        }
        gpu.submit(encoder)?;
        let words = gpu.read(&self.readback, at.max(1))?;
        let mut rest = &words[..];
        let cells = self.tapes.iter().map(|tape| {
            let (mine, others) = rest.split_at(tape.output.len() + GUARD * tape.guards.len());
            rest = others;
            mine.to_vec()
        });
        Ok(cells.collect())
    }

    /// Copies keys and values that survive the call into buffers of their own.
    fn keep(&self, tape: &Tape<'_>) -> Result<Caches> {
        let gpu = self.gpu;
        let mut encoder = gpu.encoder();
        let mut caches = Caches::default();
        for kept in &tape.kept {
            let shape = kept.shape;
            let run = shape.positions * shape.width;
            let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let buffer = gpu.buffer(2 * shape.batch * run, usage);
            for (which, from) in kept.from.into_iter().enumerate() {
                for b in 0..shape.batch {
                    let (from, to) = (from as usize + b * kept.stride, (which * shape.batch + b) * run);
                    encoder.copy_buffer_to_buffer(&self.arena, bytes(from), &buffer, bytes(to), bytes(run));
                }
            }
            caches.0.insert(kept.place, Cache { shape, buffer });
        }
        gpu.submit(encoder)?;
        Ok(caches)
    }
}

fn bytes(words: usize) -> u64 {
    4 * words as u64
}

/// What cells do at the same step with the same pipeline becomes one dispatch, unless their sizes
/// are far apart. Returns the dispatches and the records that they read.
fn schedule(tapes: &[&Tape<'_>], bases: &[usize], code_bases: &[usize]) -> (Vec<Dispatch>, Vec<u32>) {
    let (mut dispatches, mut records) = (Vec::new(), Vec::new());
    let steps = tapes.iter().map(|tape| tape.ops.len()).max().unwrap_or(0);
    for step in 0..steps {
        let mut together: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (cell, tape) in tapes.iter().enumerate() {
            let Some(op) = tape.ops.get(step) else { continue };
            let groups = op.items.div_ceil(op.kernel.per_group());
            together.entry((op.kernel, op.rule, op.segment, groups.ilog2())).or_default().push(cell);
        }
        for ((kernel, rule, segment, _), cells) in together {
            for cells in cells.chunks(MOST_GROUPS as usize) {
                let record = records.len() / RECORD;
                let mut most = 1;
                for &cell in cells {
                    let op = &tapes[cell].ops[step];
                    most = most.max(op.items.div_ceil(kernel.per_group()));
                    let start = records.len();
                    records.extend([bases[cell] as u32, code_bases[cell] as u32, op.items]);
                    records.extend(&op.args);
                    records.resize(start + RECORD, 0);
                }
                let x = most.min(MOST_GROUPS);
                dispatches.push(Dispatch {
                    kernel,
                    rule,
                    segment,
                    record,
                    groups: [x, most.div_ceil(x), cells.len() as u32],
                });
            }
        }
    }
    (dispatches, records)
}
