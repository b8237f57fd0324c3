"""What the tests of absorb share: a model is absorbed, run by both sides and judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from planetbridging.absorb import StreamResult, UnmappableModel

Function = Callable[..., StreamResult]


def same(function: Function, net: Any, x: np.ndarray, folder: Path, **options: Any) -> StreamResult:
    """Absorbs, and asserts that Loom's outputs are the framework's and of ordinary size."""
    path = folder / "model.entity"
    result = function(net, inputs=x, output_path=path, **options)
    assert result.compare_label in ("EXACT", "PASS"), (result.max_abs_diff, result.notes)
    assert result.max_abs_diff is not None and result.max_abs_diff < 2e-6, result.max_abs_diff
    assert result.native_reference is not None and result.outputs.shape == result.native_reference.shape
    # Outputs near nothing would agree whatever the weights are.
    assert np.abs(result.outputs).mean() > 0.02 and result.outputs.std(axis=0).max() > 1e-3
    assert path.is_file() and result.entity_path == str(path)
    return result


def refused(
    function: Function, net: Any, x: np.ndarray | None, folder: Path, *places: str, **options: Any
) -> UnmappableModel:
    """Absorbs in vain: every place is named, and no file is there."""
    path = folder / "deep" / "model.entity"
    with pytest.raises(UnmappableModel) as caught:
        function(net, inputs=x, output_path=path, **options)
    found = [f"{p.path} ({p.cls}): {p.why}" for p in caught.value.problems]
    for place in places:
        assert any(place in text for text in found), (place, found)
    assert all(p.why and p.instead and str(p) in str(caught.value) for p in caught.value.problems)
    assert len(found) == len(places), found
    assert not path.parent.exists()
    return caught.value
