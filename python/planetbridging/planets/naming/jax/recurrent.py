"""Recurrent layers."""

from __future__ import annotations

from .leaves import Leaves


def recurrent(kind: str) -> Leaves:
    """nn.RNN over an LSTM cell or a SimpleCell: a Dense for each gate and each side, `role.gate`."""
    found: Leaves = {}
    for gate in "ifgo" if kind == "lstm" else "h":
        # The LSTM cell keeps its bias on the hidden side, the simple cell on the input side.
        inputs, hidden = (f"i{gate}", f"h{gate}") if kind == "lstm" else ("i", "h")
        found[f"input_weight.{gate}"] = ("cell", inputs, "kernel")
        found[f"recurrent_weight.{gate}"] = ("cell", hidden, "kernel")
        found[f"bias.{gate}"] = ("cell", hidden if kind == "lstm" else inputs, "bias")
    return found
