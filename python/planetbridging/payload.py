"""A manifest's model and weights in Loom's layout as the payload of a layer stream."""

from __future__ import annotations

from typing import Any

import numpy as np

from .manifest import Model
from .weights import Roles, Weights

_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def payload(model: Model, table: Weights, planet: str) -> dict[str, Any]:
    """The document of `stream.md` section 3. Containers are opened: the stream has plain chains."""
    flat = [layer for layer in model.walk() if not layer.children]
    layers = [_layer(index, model.inputs[0].take, layer.kind, layer.config, table.get(layer.path, {}))
              for index, layer in enumerate(flat)]
    document: dict[str, Any] = {"bedrock": model.bedrock, "planet": planet, "model_id": model.id, "layers": layers}
    return document | _sizes(model, layers[0])


def _numbers(*arrays: np.ndarray) -> list[float]:
    return [v for array in arrays for v in np.asarray(array, np.float64).reshape(-1).tolist()]


def _layer(index: int, take: tuple[int, ...], kind: str, c: dict[str, Any], w: Roles) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": kind, "index": index}
    if kind == "dense":
        found |= {"input_dim": c["input_dim"], "output_dim": c["output_dim"],
                  "activation": c["activation"], "weights": _numbers(w["weight"])}
        return found | ({"bias": _numbers(w["bias"])} if "bias" in w else {})
    if kind.startswith("cnn"):
        sizes = {f"input_{axis}": n for axis, n in zip(_AXES[len(c["input"])], c["input"])}
        found |= {name: c[name] for name in ("in_channels", "filters", "kernel_size")} | sizes
        found |= {"stride": c["stride"], "padding": c["padding"],
                  "activation": c["activation"], "weights": _numbers(w["weight"])}
        return found | ({"bias": _numbers(w["bias"])} if "bias" in w else {})
    if kind == "mha":
        found |= {"d_model": c["d_model"], "num_heads": c["num_heads"],
                  "num_kv_heads": c["num_kv_heads"],
                  "head_dim": c["head_dim"], "seq_len": c.get("seq_length") or take[0]}
        for r in "qkvo":
            found[f"{r}_weights"] = _numbers(w[f"{r}_weight"])
            if f"{r}_bias" in w:
                found[f"{r}_bias"] = _numbers(w[f"{r}_bias"])
        return found
    if kind in ("lstm", "rnn"):
        found |= {"input_size": c["input_size"], "hidden_size": c["hidden_size"], "seq_len": c["seq_length"]}
        gates = "ifgo" if kind == "lstm" else "h"
        bias = w.get("bias", np.zeros(len(gates) * c["hidden_size"], np.float32))
        parts = zip(gates, *(np.split(a, len(gates)) for a in (w["input_weight"], w["recurrent_weight"], bias)))
        return found | {f"{g}_weights" if kind == "lstm" else "weights": _numbers(*arrays) for g, *arrays in parts}
    if kind == "layernorm":
        beta = w.get("beta", np.zeros(c["dim"], np.float32))
        return found | {"dim": c["dim"], "weights": _numbers(w["gamma"], beta)}
    if kind == "rmsnorm":
        return found | {"dim": c["dim"], "weights": _numbers(w["gamma"])}
    if kind == "embedding":
        return found | {"vocab_size": c["vocab_size"], "embedding_dim": c["embedding_dim"],
                        "weights": _numbers(w["weight"])}
    if kind == "swiglu":
        i, m = c["input_dim"], c["intermediate_dim"]
        roles = ("gate_weight", "up_weight", "down_weight", "gate_bias", "up_bias", "down_bias")
        zeros = {"gate_bias": np.zeros(m), "up_bias": np.zeros(m), "down_bias": np.zeros(i)}
        return found | {"input_dim": i, "intermediate_dim": m,
                        "weights": _numbers(*((zeros | w)[role] for role in roles))}
    if kind == "residual":
        return found | {"dim": c.get("dim", 4)}
    raise ValueError(f"a layer stream has no {kind} layers")


def _sizes(model: Model, first: dict[str, Any]) -> dict[str, Any]:
    """What a payload says beside its layers."""
    take = model.inputs[0].take
    bedrock = model.bedrock
    if bedrock == "dense":
        return {"input_dim": first["input_dim"]}
    if bedrock == "cnn1":
        return {"input_channels": first["in_channels"], "seq_len": first["input_length"]}
    if bedrock.startswith("cnn"):
        axes = _AXES[int(bedrock[3:])]
        return {"input_channels": first["in_channels"]} | {axis: first[f"input_{axis}"] for axis in axes}
    if bedrock == "mha":
        return {"d_model": first["d_model"], "seq_len": first["seq_len"]}
    if bedrock in ("lstm", "rnn"):
        return {name: first[name] for name in ("input_size", "hidden_size", "seq_len")}
    if bedrock == "embedding":
        return {"vocab_size": first["vocab_size"], "embed_dim": first["embedding_dim"], "seq_len": take[0]}
    if bedrock == "swiglu":
        return {"input_dim": first["input_dim"], "intermediate_dim": first["intermediate_dim"], "seq_len": take[0]}
    if bedrock == "mixer":
        return {}
    if bedrock == "residual":
        first["dim"] = take[-1]
    return {"dim": first["dim"], "seq_len": take[0]}
