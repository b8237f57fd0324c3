"""What calls return: frozen values that show themselves as a table in notebooks."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any, Sequence, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import bedrocks
from .compare import Comparison, judge, rows

_Row = TypeVar("_Row", bound="EngineStreamResult")

_COLOURS = {"EXACT": "#1a7f37", "PASS": "#1a7f37", "DIFF": "#cf222e", "ERROR": "#cf222e"}


def table(head: Sequence[str], body: Sequence[Sequence[Any]]) -> str:
    """An HTML table; labels are coloured."""
    def cell(value: Any) -> str:
        text = "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
        style = f' style="color:{_COLOURS[text]}"' if text in _COLOURS else ""
        return f"<td{style}>{html.escape(text)}</td>"
    lines = ["<table>", "<tr>" + "".join(f"<th>{html.escape(h)}</th>" for h in head) + "</tr>"]
    lines += ["<tr>" + "".join(map(cell, row)) + "</tr>" for row in body]
    return "".join([*lines, "</table>"])


@dataclass(frozen=True)
class StreamResult:
    """An entity that was written and what it computes, beside the native outputs where there are any."""

    entity_path: str
    outputs: NDArray[np.float64]
    layer_count: int
    weight_bytes: int
    max_abs_diff: float | None = None
    mean_abs_diff: float | None = None
    exact_match: bool | None = None
    compare_label: str | None = None
    original_label: str | None = None
    nmse: float | None = None
    native_reference: NDArray[np.float64] | None = None
    entity_version: int = 1
    notes: tuple[str, ...] = ()

    @property
    def output_dim(self) -> int:
        """The width of a row."""
        return int(self.outputs.shape[-1]) if self.outputs.ndim > 1 else 0

    @classmethod
    def of(cls, answer: dict[str, Any], entity_path: str, native: Any = None, version: int = 1) -> StreamResult:
        """From `loom-stream`'s answer."""
        outputs = np.asarray(answer.get("outputs", []), dtype=np.float64)
        found = cls(entity_path, outputs, int(answer.get("layer_count", 0)), int(answer.get("weight_bytes", 0)),
                    entity_version=version)
        if native is None:
            return found
        reference = rows(native)
        if outputs.size == 0:
            return cls(**{**found.__dict__, "native_reference": reference})
        apart = judge(reference, outputs)
        return cls(**{
            **found.__dict__, "max_abs_diff": apart.max_abs_diff, "mean_abs_diff": apart.mean_abs_diff,
            "exact_match": apart.exact, "compare_label": apart.label, "original_label": apart.original_label,
            "nmse": apart.nmse, "native_reference": reference,
        })

    def _repr_html_(self) -> str:
        head = ("entity", "layers", "weight bytes", "outputs", "label", "max |Δ|", "NMSE", "the original's rule")
        shape = "×".join(map(str, self.outputs.shape))
        return table(head, [(self.entity_path, self.layer_count, self.weight_bytes, shape,
                             self.compare_label, self.max_abs_diff, self.nmse, self.original_label)])


@dataclass(frozen=True)
class SmokeResult:
    """One model of a bedrock against the NumPy reference."""

    bedrock: str
    model_id: str
    layer_count: int
    compare_label: str
    max_abs_diff: float | None
    entity_path: str
    original_label: str | None = None
    nmse: float | None = None

    def _repr_html_(self) -> str:
        return table(("bedrock", "model", "layers", "label", "max |Δ|", "NMSE", "the original's rule"),
                     [(self.bedrock, self.model_id, self.layer_count, self.compare_label, self.max_abs_diff, self.nmse,
                       self.original_label)])


@dataclass(frozen=True)
class EngineStreamResult:
    """A planet's own forward, `loom-stream`'s, and that of the reloaded entity."""

    bedrock: str
    planet: str
    model_id: str
    layer_count: int
    entity_path: str
    native: NDArray[np.float64]
    loom_stream: NDArray[np.float64]
    native_vs_loom: str
    welvet: NDArray[np.float64] | None = None
    native_vs_welvet: str | None = None
    loom_vs_welvet: str | None = None
    welvet_note: str | None = None
    native_note: str | None = None

    @classmethod
    def failed(cls: type[_Row], bedrock: str, planet: str, error: Exception) -> _Row:
        """The row of a call that failed, with the label ERROR."""
        none = np.zeros((0, 0))
        return cls(bedrock, planet, bedrocks.info(bedrock).stream_model_id, 0, "", none, none, "ERROR",
                   welvet_note=f"{type(error).__name__}: {error}")

    @property
    def comparison(self) -> Comparison | None:
        """`native` beside `loom_stream`; None where there is nothing."""
        return judge(self.native, self.loom_stream) if self.native.size else None

    @property
    def max_abs_diff(self) -> float | None:
        """The largest |native - loom_stream|; None where there is nothing."""
        apart = self.comparison
        return apart.max_abs_diff if apart else None

    def _repr_html_(self) -> str:
        head = ("bedrock", "planet", "model", "native → loom", "max |Δ|", "NMSE", "the original's rule", "native → reload",
                "loom → reload", "note")
        apart = self.comparison
        return table(head, [(self.bedrock, self.planet, self.model_id, self.native_vs_loom,
                             apart and apart.max_abs_diff, apart and apart.nmse, apart and apart.original_label,
                             self.native_vs_welvet, self.loom_vs_welvet, self.native_note or self.welvet_note)])


class LadderResult(EngineStreamResult):
    """The three rungs for the first samples."""
