use loom_core::layers::{MhaSpec, QkNorm};
use loom_core::{LayerSpec, Role, RoleShape};

use super::parts::{count, shown};
use super::{Layer, Link};
use crate::error::{At, Error};
use crate::request::{Fields, Sizes};

/// Causal attention with rotary positions; an empty shift of a projection is zeros.
pub(super) struct Mha {
    d_model: i64,
    num_heads: i64,
    /// 0 means as many as `num_heads`.
    num_kv_heads: i64,
    head_dim: i64,
    seq_len: i64,
    projections: [Projection; 8],
}

/// The matrix of a projection, or its shift.
struct Projection {
    role: Role,
    field: &'static str,
    data: Vec<f32>,
}

impl From<Fields> for Mha {
    fn from(fields: Fields) -> Self {
        let Sizes { d_model, num_heads, num_kv_heads, head_dim, seq_len, .. } = fields.sizes;
        let projections = [
            Projection { role: Role::QWeight, field: "q_weights", data: fields.q_weights },
            Projection { role: Role::KWeight, field: "k_weights", data: fields.k_weights },
            Projection { role: Role::VWeight, field: "v_weights", data: fields.v_weights },
            Projection { role: Role::OWeight, field: "o_weights", data: fields.o_weights },
            Projection { role: Role::QBias, field: "q_bias", data: fields.q_bias },
            Projection { role: Role::KBias, field: "k_bias", data: fields.k_bias },
            Projection { role: Role::VBias, field: "v_bias", data: fields.v_bias },
            Projection { role: Role::OBias, field: "o_bias", data: fields.o_bias },
        ];
        Self { d_model, num_heads, num_kv_heads, head_dim, seq_len, projections }
    }
}

impl Layer for Mha {
    fn links(&self) -> Vec<Link> {
        vec![Link::same("d_model", self.d_model), Link::same("seq_len", self.seq_len)]
    }

    fn spec(&self, at: At) -> Result<LayerSpec, Error> {
        Ok(LayerSpec::Mha(MhaSpec {
            d_model: at.size("d_model", self.d_model)?,
            num_heads: at.size("num_heads", self.num_heads)?,
            num_kv_heads: Some(match self.num_kv_heads {
                0 => at.size("num_heads", self.num_heads)?,
                heads => at.size("num_kv_heads", heads)?,
            }),
            head_dim: Some(at.size("head_dim", self.head_dim)?),
            seq_length: Some(at.size("seq_len", self.seq_len)?),
            causal: true,
            rope: true,
            rope_base: 10_000.0,
            qk_norm: QkNorm::None,
            eps: 1e-6,
            window: None,
            bias: true,
        }))
    }

    fn arrays(mut self: Box<Self>, at: At, roles: &[RoleShape]) -> Result<Vec<Vec<f32>>, Error> {
        let part = |RoleShape { role, shape, .. }: &RoleShape| {
            let given = self.projections.iter_mut().find(|projection| projection.role == *role);
            let (field, data) = given.map_or(("", Vec::new()), |given| (given.field, std::mem::take(&mut given.data)));
            match shape.as_slice() {
                [len] if data.is_empty() => Ok(vec![0.0; *len]),
                shape => at.array(field, data, count(shape), shown(shape)),
            }
        };
        roles.iter().map(part).collect()
    }
}
