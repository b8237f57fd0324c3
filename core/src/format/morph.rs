//! Checkpoints with their weights stored in another type.

#![forbid(unsafe_code)]

use super::blob::{Blob, BlobId, Coding, Part};
use super::checkpoint::Checkpoint;
use super::fault::Fault;
use super::layer::{Stored, has_no_place, is_kept_by_bridge, stored};
use super::topology::set_dtype;
use crate::dtype::{Dtype, Magnitudes, Numerics};
use crate::error::Result;
use crate::role::Role;
use crate::store::{Storage, WeightStore};

/// As [`Checkpoint::morphed_at`].
pub(super) fn at(checkpoint: &Checkpoint, storage: &Storage, scale: f32) -> Result<Checkpoint> {
    let mut morphed = checkpoint.clone();
    set_dtype(&mut morphed.topology, storage.dtype);
    if let Some((decoder, _)) = &mut morphed.decoder {
        decoder.weight_dtype = storage.dtype.name().into();
    }
    for (path, record) in checkpoint.topology.walk() {
        let id = BlobId::Layer(path.clone(), Part::Master);
        if let (Some(blob), Numerics::Loom) = (morphed.blobs.get_mut(&id), storage.numerics) {
            let own = if scale == 1.0 { blob.coding.scale } else { scale };
            blob.coding = Coding::loom(storage.dtype, own);
            continue;
        }
        let stored = stored(checkpoint, &path, record)?;
        if stored.is_empty() {
            continue;
        }
        let beside = |stored: &Stored| stored.role.is_outside_array() || is_kept_by_bridge(record, stored.role);
        let old: Vec<BlobId> = checkpoint.layer_blobs(&path).map(|(id, _)| id.clone()).collect();
        old.iter().for_each(|id| {
            morphed.blobs.remove(id);
        });
        let mut put = |part, blob| morphed.blobs.insert(BlobId::Layer(path.clone(), part), blob);
        let plain = |stored: &Stored| -> Result<Blob> {
            let store = stored.store(&path)?.morph(Dtype::Float32, storage.numerics)?;
            Ok(Blob { coding: Coding::F32, ..Blob::of_store(stored.role, &store) })
        };
        let layout = record.layout().map_err(|what| Fault::Config.at(&path, what))?;
        let of = |role: Role| stored.iter().find(|stored| stored.role == role);
        let roles: Vec<Role> = layout.roles.iter().map(|role| role.role).collect();
        let whole = roles.iter().all(|role| of(*role).is_some());
        if storage.numerics == Numerics::Loom && whole && !stored.iter().any(|s| has_no_place(record, s.role)) {
            let mut parts = Vec::new();
            for role in roles.iter().filter_map(|role| of(*role)) {
                parts.push(plain(role)?.read(&BlobId::Layer(path.clone(), Part::Role(role.role)))?);
            }
            let coding = Coding::loom(storage.dtype, scale);
            put(Part::Master, Blob::memory(coding, layout.join(32, &parts)));
            for stored in stored.iter().filter(|stored| beside(stored)) {
                put(Part::Role(stored.role), plain(stored)?);
            }
            continue;
        }
        let shared = match storage.numerics {
            Numerics::Standard => None,
            // All that the layer has shares one scale, as in its array.
            Numerics::Loom => {
                let ours: Result<Vec<_>> =
                    stored.iter().filter(|s| !s.role.is_outside_array()).map(|s| s.store(&path)).collect();
                let chosen =
                    storage.dtype.choose(Numerics::Loom, &Magnitudes::of(ours?.iter().flat_map(WeightStore::iter)));
                Some(if scale == 1.0 { chosen } else { storage.dtype.affine(Numerics::Loom, scale) })
            }
        };
        for stored in &stored {
            let store = storage.morph(stored.role, &stored.store(&path)?, shared)?;
            put(Part::Role(stored.role), Blob::of_store(stored.role, &store));
        }
    }
    Ok(morphed)
}
