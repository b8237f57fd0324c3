//! Arrays of a forward: `.npy`, `.npz` and nested JSON, in and out.

use std::path::Path;

use anyhow::{Context as _, bail};
use loom_bedrocks::npz::{self, Array, Data};
use loom_core::Tensor;
use npyz::WriterBuilder as _;
use serde_json::Value;

use crate::plain::name;
use crate::stages::manifest::unknown;
use crate::write_atomically;

/// The most that is read of nested arrays; .npy has no such bound.
const JSON_CAP: u64 = 1 << 28;

/// Reads `FILE.npy`, `FILE.npz`, `FILE.npz:NAME` or `FILE.json`.
pub(super) fn read(argument: &str) -> anyhow::Result<Tensor> {
    let (path, name) = match argument.rsplit_once(".npz:") {
        Some((stem, name)) => (format!("{stem}.npz"), Some(name)),
        None => (argument.to_string(), None),
    };
    let file = Path::new(&path);
    let array = match file.extension().and_then(|e| e.to_str()) {
        Some("npy") => npz::read_npy(file)?,
        Some("npz") => {
            let mut arrays = npz::read(file)?;
            let names: Vec<String> = arrays.keys().cloned().collect();
            let wanted = match (name, names.as_slice()) {
                (Some(name), _) => name.to_string(),
                (None, [only]) => only.clone(),
                (None, _) => bail!("{path} holds {}; name one, as in {path}:{}", names.join(", "), names[0]),
            };
            let missing = || unknown("array", &wanted, names.iter().map(String::as_str));
            arrays.remove(&wanted).with_context(missing).with_context(|| path.clone())?
        }
        Some("json") => {
            let text = loom_core::file::read_text(file, JSON_CAP).with_context(|| path.clone())?;
            let value: Value = serde_json::from_str(&text).with_context(|| path.clone())?;
            let (mut shape, mut data) = (Vec::new(), Vec::new());
            flatten(&value, 0, &mut shape, &mut data).with_context(|| path.clone())?;
            return Ok(Tensor::new(shape, data)?);
        }
        _ => bail!("{path}: an input is .npy, .npz or .json"),
    };
    let Array { shape, data, .. } = array;
    let data = match data {
        Data::F32(data) => data,
        Data::F64(data) => data.into_iter().map(|v| v as f32).collect(),
        Data::U8(data) => data.into_iter().map(f32::from).collect(),
    };
    Ok(Tensor::new(shape, data)?)
}

/// Reads nested arrays in order; every array of one depth has the same length.
fn flatten(value: &Value, depth: usize, shape: &mut Vec<usize>, data: &mut Vec<f32>) -> anyhow::Result<()> {
    match value {
        Value::Array(items) => {
            match shape.get(depth) {
                Some(&known) if known != items.len() => {
                    bail!("ragged arrays: {} elements at depth {depth} where others have {known}", items.len())
                }
                Some(_) => {}
                None if data.is_empty() => shape.push(items.len()),
                None => bail!("ragged arrays: an array at depth {depth} where others have numbers"),
            }
            items.iter().try_for_each(|item| flatten(item, depth + 1, shape, data))
        }
        Value::Number(number) if depth == shape.len() => {
            data.push(number.as_f64().context("a number beyond float64")? as f32);
            Ok(())
        }
        Value::Number(_) => bail!("ragged arrays: a number at depth {depth} where others have arrays"),
        other => bail!("{other} where a number or an array is needed"),
    }
}

/// Writes an output; returns what belongs on standard output.
pub(super) fn write(path: &Path, y: &Tensor) -> anyhow::Result<String> {
    let shape: Vec<u64> = y.shape().iter().map(|&n| n as u64).collect();
    let written = |path: &Path| format!("{}: {:?}\n", name(path), y.shape());
    match path.extension().and_then(|e| e.to_str()) {
        _ if path == Path::new("-") => Ok(nested(y.shape(), y.data())? + "\n"),
        Some("npy") => {
            let mut bytes = Vec::new();
            let mut out =
                npyz::WriteOptions::<f32>::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
            out.extend(y.data().iter().copied())?;
            out.finish()?;
            write_atomically(path, &bytes)?;
            Ok(written(path))
        }
        Some("json") => {
            write_atomically(path, (nested(y.shape(), y.data())? + "\n").as_bytes())?;
            Ok(written(path))
        }
        _ => bail!("{}: an output is .npy, .json or -", path.display()),
    }
}

fn nested(shape: &[usize], data: &[f32]) -> anyhow::Result<String> {
    if let Some(i) = data.iter().position(|v| !v.is_finite()) {
        bail!("element {i} of the output is {}, which JSON cannot hold; write .npy", data[i]);
    }
    fn text(shape: &[usize], data: &[f32], out: &mut String) {
        match shape {
            [] => out.push_str(&data.first().copied().unwrap_or(0.0).to_string()),
            [n, rest @ ..] => {
                let size = data.len() / (*n).max(1);
                out.push('[');
                for i in 0..*n {
                    out.push_str(if i == 0 { "" } else { "," });
                    text(rest, &data[i * size..(i + 1) * size], out);
                }
                out.push(']');
            }
        }
    }
    let mut out = String::new();
    text(shape, data, &mut out);
    Ok(out)
}
