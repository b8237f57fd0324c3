"""How far two outputs are apart, and what that is called."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FP32_PASS_TOLERANCE = 1e-5
"""The original bridge's tolerance, for every bedrock."""


def compare_outputs(native: ArrayLike, loom: ArrayLike) -> tuple[float, float, bool]:
    """The largest and the mean of |native - loom|, and whether all numbers are equal.

    Raises ValueError where shapes differ or there is nothing to compare; NaN is never equal."""
    a, b = np.asarray(native, dtype=np.float64), np.asarray(loom, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"shape mismatch: native {a.shape} vs loom {b.shape}")
    if a.size == 0:
        raise ValueError(f"nothing to compare: shape {a.shape}")
    apart = np.abs(a - b)
    return float(apart.max()), float(apart.mean()), bool(np.all(a == b))


def diff_label(max_abs_diff: float, *, exact: bool = False, tolerance: float = FP32_PASS_TOLERANCE) -> str:
    """EXACT for equal numbers, PASS below the tolerance, otherwise DIFF; NaN is DIFF."""
    if exact or max_abs_diff == 0.0:
        return "EXACT"
    return "PASS" if max_abs_diff < tolerance else "DIFF"


def label(native: ArrayLike, loom: ArrayLike) -> str:
    """The label of two outputs."""
    largest, _, exact = compare_outputs(native, loom)
    return diff_label(largest, exact=exact)


def rows(y: ArrayLike) -> NDArray[np.float64]:
    """`y` as float64 rows, one for each sample."""
    found = np.asarray(y, dtype=np.float64)
    return found.reshape(len(found), -1)
