"""How far two outputs are apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def compare_outputs(a: ArrayLike, b: ArrayLike) -> tuple[float, float, bool]:
    """The largest and the mean absolute difference, and whether all elements are equal."""
    left: NDArray[Any] = np.asarray(a, dtype=np.float64)
    right: NDArray[Any] = np.asarray(b, dtype=np.float64)
    if left.shape != right.shape:
        raise ValueError(f"outputs have shapes {left.shape} and {right.shape}")
    if left.size == 0:
        return 0.0, 0.0, True
    apart = np.abs(left - right)
    return float(apart.max()), float(apart.mean()), bool(np.array_equal(left, right))


def diff_label(max_abs: float, *, exact: bool = False) -> str:
    """EXACT, PASS below 1e-5, otherwise DIFF; NaN is DIFF."""
    if exact:
        return "EXACT"
    return "PASS" if max_abs < 1e-5 else "DIFF"
