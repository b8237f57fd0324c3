"""Views of arrays by a planet's own functions, where these are named as NumPy's."""

from __future__ import annotations

from typing import Any, Callable


def view(math: Any, modes: dict[str, str], c: dict[str, Any]) -> Callable[[Any], Any]:
    """The view of a configuration. `math` has the functions, `modes` the planet's names of padding modes."""
    [(name, said)] = c.items()
    if name == "reshape":
        return lambda x: math.reshape(x, (x.shape[0], *said["shape"]))
    if name == "transpose":
        return lambda x: math.transpose(x, (0, *(axis % len(x.shape) for axis in said["axes"])))
    if name == "slice":
        def cut(x: Any) -> Any:
            axis = said["axis"] % len(x.shape)
            return x[(slice(None),) * axis + (slice(said["start"], said.get("stop"), said["step"]),)]
        return cut
    if name == "take":
        return lambda x: math.take(x, math.array(said["positions"]), axis=said["axis"])
    if name == "flip":
        return lambda x: math.flip(x, tuple(said["axes"]))
    if name == "squeeze":
        return lambda x: math.squeeze(x, tuple(said["axes"]))
    if name == "unsqueeze":
        return lambda x: math.expand_dims(x, said["axis"])

    def pad(x: Any) -> Any:
        around = ((0, 0),) * (len(x.shape) - len(said["sides"])) + tuple(map(tuple, said["sides"]))
        value = {"constant_values": said.get("value", 0.0)} if said["mode"] == "zeros" else {}
        return math.pad(x, around, modes[said["mode"]], **value)
    return pad
