"""Live scikit-learn perceptrons, absorbed and compared with their own predictions."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.linear_model import LinearRegression  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402

from absorbing import refused, same  # noqa: E402
from planetbridging import absorb  # noqa: E402


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(11).standard_normal(shape).astype(np.float32)


def fitted(kind: type, targets: np.ndarray, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(max_iter=30, random_state=0, **options).fit(normal(60, 8), targets)


LABELS = np.random.default_rng(12).integers(0, 4, 60)
FAMILIES: dict[str, Any] = {
    "square": lambda: fitted(MLPRegressor, normal(60, 8), hidden_layer_sizes=(8, 8), activation="tanh"),
    "one_output": lambda: fitted(MLPRegressor, normal(60), hidden_layer_sizes=(8,), activation="relu"),
    "logistic": lambda: fitted(MLPRegressor, normal(60, 2), hidden_layer_sizes=(9, 5), activation="logistic"),
    "identity": lambda: fitted(MLPRegressor, normal(60, 2), hidden_layer_sizes=(9,), activation="identity"),
    "two_classes": lambda: fitted(MLPClassifier, LABELS % 2, hidden_layer_sizes=(8,)),
    "four_classes": lambda: fitted(MLPClassifier, LABELS, hidden_layer_sizes=(8,), activation="tanh"),
    "labels": lambda: fitted(
        MLPClassifier, np.eye(4, dtype=int)[LABELS] | np.eye(4, dtype=int)[LABELS[::-1]]
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_outputs_are_the_frameworks(name: str, tmp_path: Path) -> None:
    net = FAMILIES[name]()
    result = same(absorb.sklearn, net, normal(60, 8), tmp_path)
    assert any("probabilities" in note for note in result.notes) == isinstance(net, MLPClassifier)


def test_intercepts_are_taken_along(tmp_path: Path) -> None:
    net = FAMILIES["square"]()
    net.intercepts_ = [b + 1.0 for b in net.intercepts_]
    same(absorb.sklearn, net, normal(60, 8), tmp_path)


def test_legacy_calls_keep_their_meaning(tmp_path: Path) -> None:
    net, x = FAMILIES["identity"](), normal(60, 8)
    same(absorb.sklearn, net, x, tmp_path, input_dim=8, layer_units=[9, 2], activation="linear")
    wrong = absorb.sklearn(net, layer_units=[9, 2], inputs=x, output_path=tmp_path / "m")
    assert wrong.compare_label == "DIFF"


def test_refusals(tmp_path: Path) -> None:
    refused(
        absorb.sklearn,
        LinearRegression().fit(normal(60, 8), normal(60)),
        normal(60, 8),
        tmp_path,
        "LinearRegression",
    )
    with pytest.raises(ValueError, match="fit it first"):
        absorb.sklearn(MLPRegressor(), output_path=tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_labels_go_with_the_size_of_the_outputs(tmp_path: Path) -> None:
    """Prices of 1e5 are PASS although float32 rounds them by more than 1e-5; zeros for outputs of 1e-6 are not."""
    net, x = FAMILIES["identity"](), 255 * normal(60, 8)
    net.coefs_[-1] = net.coefs_[-1] * 1e3
    large = absorb.sklearn(net, inputs=x, output_path=tmp_path / "m")
    assert np.abs(large.outputs).max() > 1e4 and (large.compare_label, large.original_label) == ("PASS", "DIFF")
    net.coefs_[-1], net.intercepts_[-1] = net.coefs_[-1] * 1e-12, net.intercepts_[-1] * 0
    small = absorb.sklearn(net, inputs=x, output_path=tmp_path / "m", native_outputs=np.zeros((60, 2)))
    assert np.abs(small.outputs).max() < 1e-5 and (small.compare_label, small.original_label) == ("DIFF", "PASS")


def test_inputs_that_are_no_real_numbers_are_refused(tmp_path: Path) -> None:
    net, x = FAMILIES["identity"](), normal(4, 8)
    masked = np.ma.array(x, mask=np.eye(4, 8))
    for wrong, kind, said in ((x * 1j, TypeError, "complex64"), (masked, ValueError, "4 of its numbers are masked"),
                              (x.astype(object), TypeError, "object"), (x.astype(float) * 1e300, ValueError, "float32 ends at")):
        with pytest.raises(kind, match=f"inputs.*{said}"):
            absorb.sklearn(net, inputs=wrong, output_path=tmp_path / "m")
        assert not (tmp_path / "m").exists()
    with pytest.raises(ValueError, match="native_outputs: 4 of its numbers are masked"):
        absorb.sklearn(net, inputs=x, native_outputs=masked, output_path=tmp_path / "m")
