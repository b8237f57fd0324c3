"""Flax linen: where the parameters of a module stand in its tree, by role, in Flax's own layout."""

from __future__ import annotations

Leaf = tuple[str, ...]


def kernel(bias: bool, weight: str = "weight", shift: str = "bias") -> dict[str, Leaf]:
    """nn.Dense `[in, out]` and nn.Conv `[spatial…, in, out]`."""
    return {weight: ("kernel",)} | ({shift: ("bias",)} if bias else {})


def norm(scale: bool, bias: bool) -> dict[str, Leaf]:
    """nn.LayerNorm and nn.RMSNorm."""
    return ({"gamma": ("scale",)} if scale else {}) | ({"beta": ("bias",)} if bias else {})


def embedding() -> dict[str, Leaf]:
    """nn.Embed `[vocabulary, features]`."""
    return {"weight": ("embedding",)}


def recurrent(kind: str) -> dict[str, Leaf]:
    """nn.RNN over an LSTM cell or a SimpleCell: a Dense for each gate and each side, `role.gate`."""
    found: dict[str, Leaf] = {}
    for gate in "ifgo" if kind == "lstm" else "h":
        # The LSTM cell keeps its bias on the hidden side, the simple cell on the input side.
        inputs, hidden = (f"i{gate}", f"h{gate}") if kind == "lstm" else ("i", "h")
        found[f"input_weight.{gate}"] = ("cell", inputs, "kernel")
        found[f"recurrent_weight.{gate}"] = ("cell", hidden, "kernel")
        found[f"bias.{gate}"] = ("cell", hidden if kind == "lstm" else inputs, "bias")
    return found
