"""How far two outputs are apart, and what that is called: the one place where live labels are made.

PASS is a matter of the outputs' own size, so that zeros, opposite signs or halves never pass however small the
outputs are, and the rounding of float32 passes however large they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import real

ATOL = 5e-6
"""The absolute part of the band, for outputs whose largest is 1: it grows and shrinks with the largest."""
RTOL = 5e-6
"""The part of the band that goes with each expected number. Both together are at most 1e-5 of the largest one: no
wider than the original's rule where that is 1."""
NMSE = 1e-10
"""The most that the squares of all differences may sum to, beside the squares of all expected numbers."""
FP32_PASS_TOLERANCE = 1e-5
"""The original bridge's tolerance: absolute, for every bedrock, whatever the size of the outputs."""


@dataclass(frozen=True)
class Comparison:
    """Two outputs: the expected ones, and those that are judged."""

    label: str
    """EXACT for equal numbers, PASS inside the band, otherwise DIFF; NaN is DIFF."""
    original_label: str
    """The original bridge's label: PASS below 1e-5, whatever the size of the outputs."""
    max_abs_diff: float
    mean_abs_diff: float
    exact: bool
    largest: float
    """The largest expected magnitude."""
    nmse: float
    """The squares of the differences beside those of the expected numbers."""


def judge(native: ArrayLike, loom: ArrayLike) -> Comparison:
    """Judges `loom`, where `native` is expected: PASS where the NMSE is at most `NMSE` and every difference
    at most `ATOL * max|native| + RTOL * |native|`.

    Raises ValueError where shapes differ or there is nothing to compare."""
    e, a = (_float64(name, x) for name, x in (("native", native), ("loom", loom)))
    if e.shape != a.shape:
        raise ValueError(f"shape mismatch: native {e.shape} vs loom {a.shape}")
    if e.size == 0:
        raise ValueError(f"nothing to compare: shape {e.shape}")
    with np.errstate(all="ignore"):
        apart, exact, largest = np.abs(e - a), bool(np.all(e == a)), float(np.abs(e).max())
        # Squares of numbers beside the largest neither overflow nor vanish.
        nmse = 0.0 if exact else float(np.square(apart / largest).sum() / np.square(e / largest).sum())
        inside = bool(np.all(apart <= ATOL * largest + RTOL * np.abs(e))) and np.isfinite(largest)
    most = 0.0 if exact else float(apart.max())
    label = "EXACT" if exact else "PASS" if inside and nmse <= NMSE else "DIFF"
    return Comparison(label, diff_label(most, exact=exact), most, 0.0 if exact else float(apart.mean()), exact, largest, nmse)


def _float64(name: str, value: Any) -> NDArray[np.float64]:
    return real(name, value).astype(np.float64)


def compare_outputs(native: ArrayLike, loom: ArrayLike) -> tuple[float, float, bool]:
    """The largest and the mean of |native - loom|, and whether all numbers are equal.

    Raises ValueError where shapes differ or there is nothing to compare; NaN is never equal."""
    found = judge(native, loom)
    return found.max_abs_diff, found.mean_abs_diff, found.exact


def diff_label(max_abs_diff: float, *, exact: bool = False, tolerance: float = FP32_PASS_TOLERANCE) -> str:
    """The original bridge's label of a largest difference, which says nothing of the outputs' size: EXACT for
    equal numbers, PASS below the tolerance, otherwise DIFF; NaN is DIFF. `judge` looks at the size too."""
    if exact or max_abs_diff == 0.0:
        return "EXACT"
    return "PASS" if max_abs_diff < tolerance else "DIFF"


def label(native: ArrayLike, loom: ArrayLike) -> str:
    """The label of two outputs."""
    return judge(native, loom).label


def rows(y: ArrayLike) -> NDArray[np.float64]:
    """`y` as float64 rows, one for each sample."""
    found = _float64("outputs", y)
    return found.reshape(len(found), -1)
