"""Views of arrays."""

from __future__ import annotations

from typing import Any

from jax import numpy as math

from .. import Operators

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def build(ops: Operators, path: str, c: dict[str, Any]):
    [(view, said)] = c.items()
    if view == "reshape":
        return lambda x: math.reshape(x, (x.shape[0], *said["shape"]))
    if view == "transpose":
        return lambda x: math.transpose(x, (0, *(axis % len(x.shape) for axis in said["axes"])))
    if view == "slice":
        def cut(x):
            axis = said["axis"] % len(x.shape)
            return x[(slice(None),) * axis + (slice(said["start"], said.get("stop"), said["step"]),)]
        return cut
    if view == "take":
        return lambda x: math.take(x, math.array(said["positions"]), axis=said["axis"])
    if view == "flip":
        return lambda x: math.flip(x, tuple(said["axes"]))
    if view == "squeeze":
        return lambda x: math.squeeze(x, tuple(said["axes"]))
    if view == "unsqueeze":
        return lambda x: math.expand_dims(x, said["axis"])

    def pad(x):
        around = ((0, 0),) * (len(x.shape) - len(said["sides"])) + tuple(map(tuple, said["sides"]))
        value = {"constant_values": said.get("value", 0.0)} if said["mode"] == "zeros" else {}
        return math.pad(x, around, MODES[said["mode"]], **value)
    return pad
