"""Flax linen: where the parameters of a module stand in its tree, by role, in Flax's own layout."""

from __future__ import annotations

Leaf = tuple[str, ...]
Leaves = dict[str, Leaf]


def kernel(bias: bool, weight: str = "weight", shift: str = "bias") -> Leaves:
    """nn.Dense `[in, out]` and nn.Conv `[spatial…, in, out]`."""
    found: Leaves = {weight: ("kernel",)}
    if bias:
        found[shift] = ("bias",)
    return found


def norm(scale: bool, bias: bool) -> Leaves:
    """nn.LayerNorm and nn.RMSNorm."""
    leaves: Leaves = {"gamma": ("scale",), "beta": ("bias",)}
    return {role: leaf for role, leaf in leaves.items() if (scale if role == "gamma" else bias)}


def embedding() -> Leaves:
    """nn.Embed `[vocabulary, features]`."""
    return {"weight": ("embedding",)}


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
