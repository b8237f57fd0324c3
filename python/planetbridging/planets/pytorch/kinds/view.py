"""Views of tensors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .. import Operators

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def build(ops: Operators, path: str, c: dict[str, Any]):
    [(view, said)] = c.items()
    if view == "reshape":
        return lambda x: x.reshape(x.shape[0], *said["shape"])
    if view == "transpose":
        return lambda x: x.permute(0, *(axis % x.dim() for axis in said["axes"]))
    if view == "slice":
        def cut(x):
            axis = said["axis"] % x.dim()
            return x[(slice(None),) * axis + (slice(said["start"], said.get("stop"), said["step"]),)]
        return cut
    if view == "take":
        return lambda x: torch.index_select(x, said["axis"] % x.dim(), torch.tensor(said["positions"]))
    if view == "flip":
        return lambda x: torch.flip(x, tuple(said["axes"]))
    if view == "squeeze":
        return lambda x: torch.squeeze(x, tuple(said["axes"]))
    if view == "unsqueeze":
        return lambda x: torch.unsqueeze(x, said["axis"])
    flat = [n for pair in reversed(said["sides"]) for n in pair]
    mode = MODES[said["mode"]]
    return lambda x: F.pad(x, flat, mode, said.get("value", 0.0) if mode == "constant" else None)
