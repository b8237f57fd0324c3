//! Runs the same dispatches many times in one submission, for callers that hold a clock.

use super::Gpu;
use super::batch::Batch;
use super::kernel::{self, DecodeRule, Kernel};
use super::tape::{RECORD, Tape};
use crate::error::Result;

/// Submits a number of repetitions and returns when they are done.
pub type Repeat<'a> = &'a dyn Fn(usize) -> Result<()>;

/// A product in f32 without any claim, beside which the exact ones are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainProduct {
    /// Rows of x.
    pub rows: usize,
    /// Rows of the weights.
    pub outs: usize,
    /// Elements that are summed.
    pub depth: usize,
}

impl Gpu {
    /// Uploads a tape and hands over what repeats it, from a fresh state each time.
    pub(crate) fn repeated_tape<T>(&self, tape: &Tape<'_>, f: impl FnOnce(Repeat<'_>) -> Result<T>) -> Result<T> {
        let tapes = [tape];
        let batch = Batch::new(self, &tapes)?;
        batch.upload(0);
        f(&|times| {
            let mut encoder = self.encoder();
            batch.encode(&mut encoder, times)?;
            self.submit(encoder)
        })
    }

    /// The same for copies of `bytes` bytes by a kernel.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device fails; those of `f`.
    pub fn repeated_copy<T>(&self, bytes: u64, f: impl FnOnce(Repeat<'_>) -> Result<T>) -> Result<T> {
        use wgpu::BufferUsages;
        // A workgroup copies 16 KiB.
        let groups = (bytes >> 14).max(1) as u32;
        let words = (groups as usize) << 12;
        let storage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let (from, to) = (self.buffer(words, storage), self.buffer(words, storage));
        let group = self.bind(&from, &to, &self.buffer(RECORD, storage), RECORD);
        let pipeline =
            self.maker().make(kernel::PLAIN_COPY, DecodeRule::Plain).map_err(|e| self.fault(e.to_string()))?;
        self.complaints()?;
        f(&|times| {
            let mut encoder = self.encoder();
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &group, &[0]);
                (0..times).for_each(|_| pass.dispatch_workgroups(groups.min(32_768), groups.div_ceil(32_768), 1));
            }
            self.submit(encoder)
        })
    }

    /// The same for a product in f32; returns its output too.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device fails; those of `f`.
    pub fn repeated_plain<T>(
        &self,
        product: PlainProduct,
        x: &[f32],
        w: &[f32],
        f: impl FnOnce(Repeat<'_>) -> Result<T>,
    ) -> Result<(T, Vec<f32>)> {
        use wgpu::BufferUsages;
        let PlainProduct { rows, outs, depth } = product;
        let storage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let y = x.len().next_multiple_of(4);
        let mut record = vec![0, 0, 0, rows as u32, outs as u32, depth as u32, y as u32];
        record.resize(RECORD, 0);
        let words = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
        let [codes, params] = [words(w), record].map(|words| {
            let buffer = self.buffer(words.len(), storage);
            self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&words));
            buffer
        });
        let arena = self.buffer(y + rows * outs, storage | BufferUsages::COPY_SRC);
        self.queue.write_buffer(&arena, 0, bytemuck::cast_slice(&words(x)));
        let group = self.bind(&codes, &arena, &params, RECORD);
        let (kernel, groups) = match rows {
            1 => (kernel::PLAIN_GEMV, outs),
            _ => (kernel::PLAIN_GEMM, rows.div_ceil(64) * outs.div_ceil(64)),
        };
        let pipeline = self.maker().make(kernel, DecodeRule::Plain).map_err(|e| self.fault(e.to_string()))?;
        let timed = f(&|times| {
            let mut encoder = self.encoder();
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &group, &[0]);
                (0..times).for_each(|_| pass.dispatch_workgroups(groups as u32, 1, 1));
            }
            self.submit(encoder)
        })?;
        let readback = self.buffer(rows * outs, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(&arena, 4 * y as u64, &readback, 0, 4 * (rows * outs) as u64);
        self.submit(encoder)?;
        let output = self.read(&readback, rows * outs)?.into_iter().map(f32::from_bits).collect();
        Ok((timed, output))
    }

    /// Makes every pipeline of these kernels that networks can ask for, and says how many there are.
    pub(crate) fn compile(&self, kernels: &[&'static Kernel]) -> Result<usize> {
        let of = |&kernel: &&'static Kernel| kernel.rules(&self.limits).into_iter().map(move |rule| (kernel, rule));
        let keys = kernels.iter().flat_map(of).collect();
        let mut pipelines = self.pipelines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        pipelines.prepare(&self.maker(), &keys).map_err(|e| self.fault(e.to_string()))?;
        drop(pipelines);
        self.complaints()?;
        Ok(keys.len())
    }
}
