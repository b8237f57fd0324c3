//! The kinds of layers that the original streams: for each one struct with the fields that it has,
//! and what they make of it.

mod conv;
mod dense;
mod embedding;
mod mha;
mod norm;
mod parts;
mod recurrent;
mod residual;
mod swiglu;

use std::fmt;

use loom_core::format::activation_name;
use loom_core::{Activation, LayerSpec, RoleShape};

use self::conv::Conv;
use self::dense::Dense;
use self::embedding::Embedding;
use self::mha::Mha;
use self::norm::{LayerNorm, RmsNorm};
use self::recurrent::{Lstm, Rnn};
use self::residual::Residual;
use self::swiglu::SwiGlu;
use crate::error::{At, Error, Flaw, LayerError, TooSmall};
use crate::request::{Fields, Sizes};

/// The bedrock of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bedrock {
    /// Layers of one kind, one after the other.
    Of(Kind),
    /// Ten or sixteen layers of many kinds.
    Mixer,
}

/// The kind of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the bedrock of that name")]
pub enum Kind {
    Dense,
    Cnn1,
    Cnn2,
    Cnn3,
    Mha,
    Lstm,
    Rnn,
    LayerNorm,
    Embedding,
    RmsNorm,
    SwiGlu,
    Residual,
}

/// A layer of a stream, with the fields of its kind.
pub(crate) trait Layer {
    /// The sizes that tie it to the layer before, in the order of [`Kind::first`].
    fn links(&self) -> Vec<Link>;

    /// Its configuration.
    fn spec(&self, at: At) -> Result<LayerSpec, Error>;

    /// Its arrays, one for each of the roles of its configuration.
    fn arrays(self: Box<Self>, at: At, roles: &[RoleShape]) -> Result<Vec<Vec<f32>>, Error>;
}

/// A size that ties a layer to its neighbours.
pub(crate) struct Link {
    /// What messages call it.
    size: &'static str,
    /// What it is.
    given: i64,
    /// What the next layer's must be.
    next: i64,
}

impl Bedrock {
    /// The bedrock of a name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        if name == "mixer" { Some(Bedrock::Mixer) } else { Kind::find(name).map(Bedrock::Of) }
    }

    /// The kind of the layer at `position`: the bedrock's own, or in a mixer what the layer says.
    pub(crate) fn kind(self, layer: &Fields, position: usize) -> Result<Kind, Error> {
        let said = || layer.kind.clone();
        match self {
            Bedrock::Mixer => Kind::find(&layer.kind).ok_or_else(|| Error::UnknownKind { position, kind: said() }),
            Bedrock::Of(Kind::Dense) => Ok(Kind::Dense),
            Bedrock::Of(kind) if layer.kind.is_empty() || layer.kind == kind.name() => Ok(kind),
            Bedrock::Of(wanted) => Err(Error::OtherKind { position, wanted, kind: said() }),
        }
    }
}

impl fmt::Display for Bedrock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bedrock::Of(kind) => kind.fmt(f),
            Bedrock::Mixer => f.write_str("mixer"),
        }
    }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 12] = [
        Kind::Dense,
        Kind::Cnn1,
        Kind::Cnn2,
        Kind::Cnn3,
        Kind::Mha,
        Kind::Lstm,
        Kind::Rnn,
        Kind::LayerNorm,
        Kind::Embedding,
        Kind::RmsNorm,
        Kind::SwiGlu,
        Kind::Residual,
    ];

    /// The kind of a name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The name that a layer says.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Dense => "dense",
            Kind::Cnn1 => "cnn1",
            Kind::Cnn2 => "cnn2",
            Kind::Cnn3 => "cnn3",
            Kind::Mha => "mha",
            Kind::Lstm => "lstm",
            Kind::Rnn => "rnn",
            Kind::LayerNorm => "layernorm",
            Kind::Embedding => "embedding",
            Kind::RmsNorm => "rmsnorm",
            Kind::SwiGlu => "swiglu",
            Kind::Residual => "residual",
        }
    }

    /// The layer that has these fields; others are of no meaning to it.
    pub(crate) fn layer(self, fields: Fields) -> Box<dyn Layer> {
        match self {
            Kind::Dense => Box::new(Dense::from(fields)),
            Kind::Cnn1 => Box::new(Conv::<1>::from(fields)),
            Kind::Cnn2 => Box::new(Conv::<2>::from(fields)),
            Kind::Cnn3 => Box::new(Conv::<3>::from(fields)),
            Kind::Mha => Box::new(Mha::from(fields)),
            Kind::Lstm => Box::new(Lstm::from(fields)),
            Kind::Rnn => Box::new(Rnn::from(fields)),
            Kind::LayerNorm => Box::new(LayerNorm::from(fields)),
            Kind::Embedding => Box::new(Embedding::from(fields)),
            Kind::RmsNorm => Box::new(RmsNorm::from(fields)),
            Kind::SwiGlu => Box::new(SwiGlu::from(fields)),
            Kind::Residual => Box::new(Residual::from(fields)),
        }
    }

    /// What a payload says of the [`Layer::links`] of its first layer.
    pub(crate) fn first(self, payload: &Sizes) -> Vec<i64> {
        let Sizes { input_channels, seq_len, height, width, depth, .. } = *payload;
        match self {
            Kind::Dense => vec![payload.input_dim],
            Kind::Cnn1 => vec![input_channels, seq_len],
            Kind::Cnn2 => vec![input_channels, height, width],
            Kind::Cnn3 => vec![input_channels, depth, height, width],
            Kind::Mha => vec![payload.d_model, seq_len],
            Kind::Lstm | Kind::Rnn => vec![payload.input_size, payload.hidden_size, seq_len],
            Kind::LayerNorm | Kind::RmsNorm | Kind::Residual => vec![payload.dim],
            Kind::Embedding => vec![payload.vocab_size, payload.embed_dim],
            Kind::SwiGlu => vec![payload.input_dim, payload.intermediate_dim],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Link {
    /// A size that all layers share.
    fn same(size: &'static str, given: i64) -> Self {
        Self { size, given, next: given }
    }

    /// Checks it against what the layer before says.
    pub(crate) fn check(&self, at: At, expected: i64) -> Result<i64, Error> {
        let &Self { size, given, next } = self;
        if given == expected { Ok(next) } else { Err(at.error(Flaw::Link { size, given, expected })) }
    }
}

impl At {
    pub(crate) fn error(self, flaw: Flaw) -> Error {
        Error::Layer(LayerError { at: self, flaw })
    }

    /// A size of the layer, at least 1.
    fn size(self, name: &'static str, given: i64) -> Result<usize, Error> {
        positive(name, given).map_err(|size| self.error(Flaw::Size(size)))
    }

    /// The activation of a name; the original takes what it does not know for none, this does not.
    fn activation(self, name: &str) -> Result<Activation, Error> {
        let known = Activation::ORIGINAL.into_iter();
        match known.clone().find(|known| activation_name(*known).eq_ignore_ascii_case(name)) {
            Some(activation) => Ok(activation),
            None if name.is_empty() => Ok(Activation::Linear),
            None => {
                let known: Vec<String> = known.map(|known| activation_name(known).to_ascii_lowercase()).collect();
                Err(self.error(Flaw::Activation { given: name.into(), known: known.join(", ") }))
            }
        }
    }
}

/// A size that is at least 1.
pub(crate) fn positive(name: &'static str, given: i64) -> Result<usize, TooSmall> {
    usize::try_from(given).ok().filter(|&n| n > 0).ok_or(TooSmall { name, given })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_the_bedrocks_in_their_order() {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).chain(["mixer"]).collect();
        assert_eq!(names, loom_bedrocks::of_the_original());
        assert!(names.iter().all(|name| Bedrock::find(name).is_some_and(|found| found.to_string() == **name)));
        assert_eq!((Bedrock::find("Dense"), Kind::find("mixer")), (None, None));
    }

    #[test]
    fn a_payload_says_every_link_of_its_first_layer() {
        for kind in Kind::ALL {
            let links = kind.layer(Fields::default()).links();
            assert_eq!(links.len(), kind.first(&Sizes::default()).len(), "{kind}");
        }
    }
}
