"""What is taken as an array of numbers. What float32 cannot hold, and what is no array of real numbers, is
refused by name, never reinterpreted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def real(name: str, value: Any) -> NDArray[Any]:
    """`value` as an array of real numbers, of the dtype that it has.

    TypeError for complex numbers, objects, None, text and dates; ValueError for ragged lists and for
    arrays with masked numbers."""
    if isinstance(value, np.ma.MaskedArray) and (masked := np.count_nonzero(np.ma.getmaskarray(value))):
        raise ValueError(f"{name}: {masked} of its numbers are masked; fill them: x.filled(value)")
    try:
        array = np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:  # other packages' arrays fail in ways of their own
        raise ValueError(f"{name}: it cannot be read as an array: {error}") from error
    kind = array.dtype.kind
    # V: types of other packages, such as bfloat16.
    if kind in "biuf" or kind == "V" and np.can_cast(array.dtype, np.float32):
        return array
    cure = "give numbers: x.astype('float32') where that means what you want"
    if kind == "c":
        cure = "give x.real or abs(x)"
    elif kind == "O" and array.ndim == 0:
        cure = "give an array or nested lists of numbers"
    raise TypeError(f"{name} ({array.dtype}): real numbers are expected, not this {type(value).__name__}; {cure}")


def float32(name: str, value: Any) -> NDArray[np.float32]:
    """`value` as a new or the same array of finite float32, in C order. Fractions are rounded.

    As `real`; ValueError also for NaN, for what is beyond float32, and for whole numbers of an integer
    dtype that float32 does not have."""
    array = real(name, value)
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.require(array, np.float32, ["C", "A"])
    bad = ~np.isfinite(found)
    if array.dtype.kind in "iu":
        bad |= ~_held(array)
    if not bad.any():
        return found
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    number = array[at]
    why = "inputs must be finite"
    if array.dtype.kind in "iu":
        why = "float32 has not every whole number beyond 2^24; give floats where rounding is meant"
    elif np.isfinite(number):
        why = f"float32 ends at {np.finfo(np.float32).max:.8g}; scale the input"
    raise ValueError(f"{name} ({array.dtype}): {list(at)} is {number}; {why}")


def _held(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether float32 has each of these integers: at most 24 bits from the first 1 to the last."""
    size = array.astype(np.uint64)
    size = np.where(array < 0, ~size + np.uint64(1), size)
    low = np.maximum(size & (~size + np.uint64(1)), np.uint64(1))
    held: NDArray[np.bool_] = size // low < 1 << 24
    return held
