"""Bridges live models to Loom: names their arrays by role and runs their native forward.

Layout is not done here. Arrays keep the planet's own layout; Rust relays them out from
one table of conventions.
"""

__version__ = "0.1.0"

BEDROCKS = (
    "dense", "cnn1", "cnn2", "cnn3", "mha", "lstm", "rnn",
    "layernorm", "embedding", "rmsnorm", "swiglu", "residual", "mixer",
)
PLANETS = ("pytorch", "tensorflow", "jax", "sklearn")
