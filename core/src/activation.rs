//! Element-wise activations: computed in f64, rounded to f32 once.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::ConfigError;
use crate::math;

/// SELU's slope above zero and its alpha (Klambauer et al., 2017).
const SELU: (f64, f64) = (1.050_700_987_355_480_5, 1.673_263_242_354_377_2);

/// An activation. In a configuration one is its name, or its name with its numbers: `elu` is `{ elu: { alpha: 1 } }`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// `v`.
    #[default]
    Linear,
    /// `max(v, 0)`.
    Relu,
    /// `v * sigmoid(v)`.
    Silu,
    /// `v/2 * (1 + tanh(sqrt(2/pi) * (v + 0.044715 v^3)))`, the tanh form.
    Gelu,
    /// `tanh v`.
    Tanh,
    /// `1 / (1 + exp(-v))`.
    Sigmoid,
    /// `v`, or `slope v` below zero.
    LeakyRelu {
        /// The slope below zero.
        slope: f64,
    },
    /// `max(v, 0)^2`.
    Relu2,
    /// `v/2 * (1 + erf(v / sqrt 2))`, as it is defined.
    GeluErf,
    /// `v min(max(v + 3, 0), 6) / 6`.
    HardSwish,
    /// `min(max(slope v + offset, 0), 1)`. Planets differ in the slope: 1/6 in PyTorch, Keras 3 and JAX, 0.2 in ONNX
    /// unless it says otherwise.
    HardSigmoid {
        /// The slope between the bounds.
        slope: f64,
        /// The value at zero.
        offset: f64,
    },
    /// `min(max(v, 0), 6)`.
    Relu6,
    /// `v` between two bounds, either of which may be missing.
    Clip {
        /// The lower bound.
        min: Option<f64>,
        /// The upper bound.
        max: Option<f64>,
    },
    /// `v`, or `alpha (exp v - 1)` below zero.
    Elu {
        /// How far it falls below zero.
        alpha: f64,
    },
    /// `1.0507… v`, or `1.0507… 1.6732… (exp v - 1)` below zero.
    Selu,
    /// `ln(1 + exp(beta v)) / beta`.
    Softplus {
        /// How sharp the bend is.
        beta: f64,
    },
    /// `v tanh(ln(1 + exp v))`.
    Mish,
}

impl Activation {
    /// Leaky ReLU as the original has it.
    pub const LEAKY_RELU: Activation = Activation::LeakyRelu { slope: 0.01 };

    /// Every activation, with the numbers that its name alone stands for.
    pub const ALL: [Activation; 17] = [
        Activation::Linear,
        Activation::Relu,
        Activation::Silu,
        Activation::Gelu,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::LEAKY_RELU,
        Activation::Relu2,
        Activation::GeluErf,
        Activation::HardSwish,
        Activation::HardSigmoid { slope: 1.0 / 6.0, offset: 0.5 },
        Activation::Relu6,
        Activation::Clip { min: None, max: None },
        Activation::Elu { alpha: 1.0 },
        Activation::Selu,
        Activation::Softplus { beta: 1.0 },
        Activation::Mish,
    ];

    /// The name used in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Activation::Linear => "linear",
            Activation::Relu => "relu",
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
            Activation::Tanh => "tanh",
            Activation::Sigmoid => "sigmoid",
            Activation::LeakyRelu { .. } => "leaky_relu",
            Activation::Relu2 => "relu2",
            Activation::GeluErf => "gelu_erf",
            Activation::HardSwish => "hard_swish",
            Activation::HardSigmoid { .. } => "hard_sigmoid",
            Activation::Relu6 => "relu6",
            Activation::Clip { .. } => "clip",
            Activation::Elu { .. } => "elu",
            Activation::Selu => "selu",
            Activation::Softplus { .. } => "softplus",
            Activation::Mish => "mish",
        }
    }

    /// Those of the original, in the order by which `activation.wgsl` numbers them.
    pub const ORIGINAL: [Activation; 8] = *Activation::ALL.first_chunk().expect("more than eight");

    /// The number of an activation of the original; of others `None`.
    #[must_use]
    pub(crate) fn original(self) -> Option<u32> {
        Activation::ORIGINAL.iter().position(|known| *known == self).map(|id| id as u32)
    }

    /// `Err` unless its numbers make sense.
    pub(crate) fn check(self) -> Result<(), ConfigError> {
        let finite = |field, found: f64| match found.is_finite() {
            true => Ok(()),
            false => Err(ConfigError::Number { field, found, expected: "a finite number" }),
        };
        match self {
            Activation::LeakyRelu { slope } => finite("slope", slope),
            Activation::HardSigmoid { slope, offset } => finite("slope", slope).and(finite("offset", offset)),
            Activation::Elu { alpha } => finite("alpha", alpha),
            Activation::Softplus { beta } if beta.is_finite() && beta > 0.0 => Ok(()),
            Activation::Softplus { beta } => {
                Err(ConfigError::Number { field: "beta", found: beta, expected: "a positive number" })
            }
            Activation::Clip { min, max } => {
                finite("min", min.unwrap_or(0.0)).and(finite("max", max.unwrap_or(0.0)))?;
                match (min, max) {
                    (Some(min), Some(max)) if min > max => {
                        Err(ConfigError::Number { field: "min", found: min, expected: "at most max" })
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// The activation of one element.
    #[must_use]
    pub fn apply(self, v: f32) -> f32 {
        let x = f64::from(v);
        match self {
            Activation::Linear => v,
            Activation::Relu => at_least(v, 0.0),
            Activation::Silu => (x * math::sigmoid(x)) as f32,
            Activation::Gelu => math::gelu(x) as f32,
            Activation::Tanh => math::tanh(x) as f32,
            Activation::Sigmoid => math::sigmoid(x) as f32,
            Activation::LeakyRelu { slope } => {
                if v < 0.0 {
                    (slope * x) as f32
                } else {
                    v
                }
            }
            Activation::Relu2 => {
                if v < 0.0 {
                    0.0
                } else {
                    v * v
                }
            }
            Activation::GeluErf => math::gelu_erf(x) as f32,
            Activation::HardSwish => (x * between(x + 3.0, 0.0, 6.0) / 6.0) as f32,
            Activation::HardSigmoid { slope, offset } => between(slope * x + offset, 0.0, 1.0) as f32,
            Activation::Relu6 => between(x, 0.0, 6.0) as f32,
            Activation::Clip { min, max } => {
                between(x, min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY)) as f32
            }
            Activation::Elu { alpha } => bent(x, 1.0, alpha) as f32,
            Activation::Selu => bent(x, SELU.0, SELU.0 * SELU.1) as f32,
            Activation::Softplus { beta } => (math::softplus(beta * x) / beta) as f32,
            Activation::Mish => math::mish(x) as f32,
        }
    }

    /// What the kernel of single activations computes: a rule and its two numbers.
    #[cfg(feature = "gpu")]
    pub(crate) fn rule(self) -> (u32, [f64; 2]) {
        match self {
            Activation::LeakyRelu { slope } => (9, [1.0, slope]),
            Activation::GeluErf => (10, [0.0; 2]),
            Activation::HardSwish => (11, [0.0; 2]),
            Activation::HardSigmoid { slope, offset } => (12, [slope, offset]),
            Activation::Relu6 => (13, [0.0, 6.0]),
            Activation::Clip { min, max } => (13, [min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY)]),
            Activation::Elu { alpha } => (14, [1.0, alpha]),
            Activation::Selu => (14, [SELU.0, SELU.0 * SELU.1]),
            Activation::Softplus { beta } => (15, [beta, 0.0]),
            Activation::Mish => (16, [0.0; 2]),
            original => (original.original().unwrap_or(0), [0.0; 2]),
        }
    }
}

/// `v`, or `least` where it is smaller. NaN stays.
fn at_least(v: f32, least: f32) -> f32 {
    if v < least { least } else { v }
}

/// `x` held between two bounds. NaN stays.
fn between(x: f64, low: f64, high: f64) -> f64 {
    if x < low {
        low
    } else if x > high {
        high
    } else {
        x
    }
}

/// `slope x`, or `alpha (exp x - 1)` below zero.
fn bent(x: f64, slope: f64, alpha: f64) -> f64 {
    if x < 0.0 { alpha * math::expm1(x) } else { slope * x }
}

/// The numbers of an activation, by its name.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Numbers {
    /// `v`, or `slope v` below zero.
    LeakyRelu {
        /// The slope below zero.
        slope: f64,
    },
    /// `min(max(slope v + offset, 0), 1)`.
    HardSigmoid {
        /// The slope between the bounds.
        slope: f64,
        /// The value at zero.
        offset: f64,
    },
    /// `v` between two bounds, either of which may be missing.
    Clip {
        /// The lower bound.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        /// The upper bound.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
    },
    /// `v`, or `alpha (exp v - 1)` below zero.
    Elu {
        /// How far it falls below zero.
        alpha: f64,
    },
    /// `ln(1 + exp(beta v)) / beta`.
    Softplus {
        /// How sharp the bend is.
        beta: f64,
    },
}

impl From<Numbers> for Activation {
    fn from(numbers: Numbers) -> Self {
        match numbers {
            Numbers::LeakyRelu { slope } => Activation::LeakyRelu { slope },
            Numbers::HardSigmoid { slope, offset } => Activation::HardSigmoid { slope, offset },
            Numbers::Clip { min, max } => Activation::Clip { min, max },
            Numbers::Elu { alpha } => Activation::Elu { alpha },
            Numbers::Softplus { beta } => Activation::Softplus { beta },
        }
    }
}

impl Serialize for Activation {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let numbers = match *self {
            known if Activation::ALL.contains(&known) => return to.serialize_str(known.name()),
            Activation::LeakyRelu { slope } => Numbers::LeakyRelu { slope },
            Activation::HardSigmoid { slope, offset } => Numbers::HardSigmoid { slope, offset },
            Activation::Clip { min, max } => Numbers::Clip { min, max },
            Activation::Elu { alpha } => Numbers::Elu { alpha },
            Activation::Softplus { beta } => Numbers::Softplus { beta },
            named => return to.serialize_str(named.name()),
        };
        numbers.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Activation {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Activation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an activation, or its name with its numbers")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Activation, E> {
        let found = Activation::ALL.into_iter().find(|known| known.name() == name);
        found.ok_or_else(|| E::unknown_variant(name, &NAMES))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Activation, A::Error> {
        Numbers::deserialize(MapAccessDeserializer::new(map)).map(Activation::from)
    }
}

/// The names, in the order of [`Activation::ALL`].
const NAMES: [&str; Activation::ALL.len()] = {
    let mut names = [""; Activation::ALL.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = Activation::ALL[i].name();
        i += 1;
    }
    names
};

impl JsonSchema for Activation {
    fn schema_name() -> Cow<'static, str> {
        "Activation".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "description": "An activation: its name, or its name with its numbers.",
            "anyOf": [{ "enum": NAMES }, generator.subschema_for::<Numbers>()],
        })
    }
}
