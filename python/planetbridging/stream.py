"""What a stream into Loom results in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass
class StreamResult:
    """The file that was written, Loom's outputs `[samples, output_dim]` and how far they are from
    the framework's. Without a native reference the fields of the comparison are None."""

    entity_path: str
    outputs: NDArray[Any]
    layer_count: int
    weight_bytes: int
    max_abs_diff: float | None = None
    mean_abs_diff: float | None = None
    exact_match: bool | None = None
    compare_label: str | None = None
    native_reference: NDArray[Any] | None = None
    entity_version: int = 1
    notes: tuple[str, ...] = ()

    @property
    def output_dim(self) -> int:
        """Numbers of one sample's output."""
        return int(self.outputs.shape[1]) if self.outputs.ndim > 1 else 0
