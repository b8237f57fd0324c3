"""Triton cannot be loaded after TensorFlow, so it is loaded first where it is installed."""

from planetbridging.planets import load_triton

load_triton()
