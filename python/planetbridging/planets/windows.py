"""Numbers for the axes of windows, as configurations have them: one for all, one for each, or a pair for each."""

from __future__ import annotations

Numbers = int | list[int]
Paddings = int | list[int] | list[list[int]]


def per_axis(numbers: Numbers, axes: int) -> tuple[int, ...]:
    """A number for each axis."""
    return (numbers,) * axes if isinstance(numbers, int) else tuple(numbers)


def sides(paddings: Paddings, axes: int) -> tuple[tuple[int, int], ...]:
    """What lies before and behind each axis."""
    each = [paddings] * axes if isinstance(paddings, int) else paddings
    return tuple((n, n) if isinstance(n, int) else (n[0], n[1]) for n in each)


def same(before_behind: tuple[tuple[int, int], ...]) -> tuple[int, ...] | None:
    """The one number on either side of each axis, where it is one."""
    return tuple(a for a, _ in before_behind) if all(a == b for a, b in before_behind) else None
