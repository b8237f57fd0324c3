"""The layer stream: NumPy reference, loom-stream, the entity reloaded. Needs no planet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import planetbridging as pb
from planetbridging import engines, fixture_cache, reference
from planetbridging._binary import find_loom_stream, run_arrays
from planetbridging.payload import payload
from planetbridging.stream import stream_bedrock



@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLANETBRIDGING_ROOT", raising=False)


@pytest.mark.parametrize("bedrock", pb.BEDROCK_IDS)
def test_three_rungs(bedrock: str) -> None:
    r = pb.run_bedrock_ladder(bedrock, max_samples=100)
    assert (r.native_vs_loom in ("EXACT", "PASS"), r.native_vs_welvet in ("EXACT", "PASS")) == (True, True)
    assert r.loom_vs_welvet == "EXACT" and r.welvet is not None and len(r.welvet) == 100
    assert Path(r.entity_path).is_file()


@pytest.mark.parametrize("bedrock", [bedrock for bedrock in pb.BEDROCK_IDS if bedrock != "residual"])
def test_other_weights_give_other_outputs(bedrock: str) -> None:
    """The comparison can fail: with one weight changed it does. (A residual has none.)"""
    model = engines.model(bedrock)
    table = reference.weights(model)
    document = payload(model, table, "numpy")
    changed = document["layers"][-1]
    name = next(n for n in ("weights", "o_weights") if n in changed) if "i_weights" not in changed else "g_weights"
    changed[name][0] += 0.5
    with np.load(fixture_cache.ensure(bedrock)) as arrays:
        inputs = [i.of(dict(arrays)) for i in model.inputs]
    native = reference.forward(model, table, inputs).reshape(len(inputs[0]), -1)
    info = pb.BEDROCKS[bedrock]
    r = stream_bedrock(bedrock, document, fixture_version=info.fixture_version, native_outputs=native,
                       output_path="changed.entity")
    assert r.compare_label == "DIFF"


def test_files_are_where_they_were_asked_for() -> None:
    document = {"planet": "p", "model_id": "m", "dim": 2, "seq_len": 1, "layers": [{"index": 0, "dim": 2, "weights": [1, 2]}]}
    r = stream_bedrock("rmsnorm", document, inputs=[[3.0, 4.0]], output_path="a/b.entity")
    assert r.entity_path == "a/b.entity" and [p.name for p in Path("a").iterdir()] == ["b.entity"]
    assert np.allclose(r.outputs, [[3 / np.sqrt(12.5), 8 / np.sqrt(12.5)]], atol=1e-6)
    r = stream_bedrock("rmsnorm", document, inputs=[[3.0, 4.0]], models_dir="models")
    assert Path(r.entity_path) == Path("models/p/m/m.stream.entity") and Path(r.entity_path).is_file()


def test_a_program_that_is_named_says_and_writes_what_this_process_does(monkeypatch: pytest.MonkeyPatch) -> None:
    program = find_loom_stream()
    document = {"planet": "p", "model_id": "m", "dim": 2, "seq_len": 1, "layers": [{"index": 0, "dim": 2, "weights": [1, 2]}]}
    dense = {"planet": "pytorch", "model_id": "d", "inputs": [{"array": "x"}],
             "layers": [{"dense": {"input_dim": 3, "output_dim": 2, "bias": False}}]}
    weights = {"layers.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7}
    x = {"x": np.ones((2, 3))}

    def all_of_it(name: str) -> list[Any]:
        r = stream_bedrock("rmsnorm", document, inputs=[[3.0, 4.0]], output_path=f"{name}.entity")
        told = [r.outputs.tolist(), r.layer_count, r.weight_bytes, Path(r.entity_path).read_bytes()]
        for version, dtype, fixture in ((1, None, x), (2, "int8", x), (2, None, None)):
            answer = run_arrays(model=dense, arrays=weights, fixture=fixture, output=f"{name}.entity",
                                entity_version=version, dtype=dtype)
            assert answer.pop("entity_path") == f"{name}.entity"
            told += [np.asarray(answer.pop("outputs", [])).tolist(), answer, Path(f"{name}.entity").read_bytes()]
        for wrong in (lambda: stream_bedrock("rmsnorm", {**document, "dim": 3}, inputs=[[3.0, 4.0]], models_dir="m"),
                      lambda: stream_bedrock("rmsnorm", {**document, "dim": float("nan")}, models_dir="m"),
                      lambda: run_arrays(model={**dense, "planet": "jxa"}, arrays=weights, output="o"),
                      lambda: run_arrays(model=dense, arrays={}, output="o")):
            with pytest.raises(RuntimeError, match="^loom-stream failed: ") as refusal:
                wrong()
            told.append(str(refusal.value))
        return told

    monkeypatch.delenv("PLANETBRIDGING_LOOM_STREAM", raising=False)
    own = all_of_it("own")
    monkeypatch.setenv("PLANETBRIDGING_LOOM_STREAM", str(program))
    assert all_of_it("called") == own
    monkeypatch.delenv("PLANETBRIDGING_LOOM_STREAM")
    with pytest.raises(FileNotFoundError, match="it was named as loom-stream"):
        run_arrays(model=dense, arrays=weights, output="o", binary="none")


def test_refusals_say_what_and_where() -> None:
    layers = [{"index": 0, "dim": 2, "weights": [1.0, float("nan")]}]
    with pytest.raises(RuntimeError, match="loom-stream failed: "):
        stream_bedrock("rmsnorm", {"dim": 2, "layers": layers}, inputs=[[1.0, 2.0]], output_path="n.entity")
    layers[0]["weights"] = [1.0]
    with pytest.raises(RuntimeError, match="layer 0: weights len 1 != 2"):
        stream_bedrock("rmsnorm", {"dim": 2, "layers": layers}, inputs=[[1.0, 2.0]], output_path="n.entity")
    with pytest.raises(ValueError, match="payload.layers required"):
        stream_bedrock("rmsnorm", {}, output_path="n.entity")
    with pytest.raises(ValueError, match="unknown bedrock 'densse'; expected one of dense, cnn1"):
        pb.run_bedrock_smoke("densse")
    assert not Path("n.entity").exists()


def test_reloaded_networks() -> None:
    path = pb.run_bedrock_smoke("dense").entity_path
    network, x = pb.load(path), np.random.default_rng(0).normal(size=(4, 32))
    assert network.format == "v1" and len(network.topology["cells"]) == 4
    y = network.forward(x)
    assert y.dtype == np.float32 and y.shape == (4, 8)
    small = network.morph("int8")
    assert set(small.dtypes.values()) == {"int8", "float32"} and small.weight_bytes < network.weight_bytes
    assert 0 < np.abs(small.forward(x) - y).max() < 0.2
    small.save("small.entity")
    again = pb.load("small.entity")
    assert again.format == "v2" and np.array_equal(again.forward(x), small.forward(x))
    data = Path("small.entity").read_bytes()
    assert np.array_equal(pb.import_welvet().deserialize_entity(data).forward(x), small.forward(x))
    with pytest.raises(ValueError, match='unknown dtype "int9"'):
        network.morph("int9")
    with pytest.raises(OSError, match="no such file"):
        pb.load("none.entity")
    Path("cut.entity").write_bytes(data[:-5])
    with pytest.raises(ValueError, match="cut.entity"):
        pb.load("cut.entity")


def test_one_position_at_a_time() -> None:
    """Decoding with the cache gives what the whole sequence gives."""
    path = pb.run_bedrock_smoke("mha").entity_path
    network, x = pb.load(path), np.random.default_rng(0).normal(size=(1, 4, 8)).astype(np.float32)
    steps = [network.decode(x[:, t : t + 1]) for t in range(4)]
    assert np.array_equal(np.concatenate(steps, axis=1), network.forward(x))
    network.reset()
    assert np.array_equal(network.decode(x[:, :1]), steps[0])


def test_compare() -> None:
    assert pb.compare_outputs([[1.0, 2.0]], [[1.0, 2.5]]) == (0.5, 0.25, False)
    assert [pb.diff_label(v) for v in (0.0, 9e-6, 1e-5, float("nan"))] == ["EXACT", "PASS", "DIFF", "DIFF"]
    # A largest difference alone is judged by the original's rule; `judge` looks at the outputs' size too.
    with pytest.raises(ValueError, match="shape mismatch"):
        pb.compare_outputs([1.0], [[1.0]])
    with pytest.raises(ValueError, match="nothing to compare"):
        pb.compare_outputs([], [])


def loose(x: np.ndarray, factor: float) -> np.ndarray:
    """`x` with one number beside itself by a share of the largest."""
    y = x.copy()
    y[0, 0] += factor * np.abs(x).max()
    return y


@pytest.mark.parametrize("size", [1e-300, 1e-38, 1e-17, 1e-6, 1e-3, 1.0, 255.0, 1e4, 1e30, 1e300])
def test_labels_go_with_the_size_of_the_outputs(size: float) -> None:
    x = np.random.default_rng(0).normal(size=(100, 8)) * size
    wrong = {"zeros": 0 * x, "opposite": -x, "halves": x / 2, "doubled": 2 * x, "reversed": x[::-1], "columns": x[:, ::-1],
             "one sample": np.where(np.arange(100)[:, None] == 7, 0, x), "a thousandth": x * 1.001, "1e-4": x * 1.0001,
             "one number": loose(x, 1.1e-5), "NaN": np.where(x == x.max(), np.nan, x), "inf": np.where(x == x.max(), np.inf, x)}
    assert {name: pb.judge(x, y).label for name, y in wrong.items()} == dict.fromkeys(wrong, "DIFF")
    right = {"float32's rounding": x * (1 + 6e-8), "a hundred roundings": x * (1 - 6e-6), "one number": loose(x, 4e-6)}
    assert {name: pb.judge(x, y).label for name, y in right.items()} == dict.fromkeys(right, "PASS")
    assert pb.judge(x, x).label == "EXACT" and pb.judge(x, x).nmse == 0
    # The original's rule, beside it: whatever is small passes, and nothing large does.
    assert pb.judge(x, 0 * x).original_label == ("PASS" if size < 1e-5 / 4 else "DIFF")
    assert pb.judge(x, x * (1 + 6e-8)).original_label == ("PASS" if size < 30 else "DIFF")


def test_labels_at_the_edges() -> None:
    nan, inf = float("nan"), float("inf")
    for native, loom, expected in [([0.0, 0.0], [0.0, -0.0], "EXACT"), ([0.0, 0.0], [0.0, 1e-30], "DIFF"),
                                   ([1e-30, 0.0], [0.0, 0.0], "DIFF"), ([nan, 1.0], [nan, 1.0], "DIFF"), ([inf, 1.0], [inf, 1.0], "EXACT"),
                                   ([inf, 1.0], [inf, 2.0], "DIFF"), ([inf, 1.0], [0.0, 1.0], "DIFF"), ([1.0], [inf], "DIFF")]:
        assert pb.judge(native, loom).label == expected, (native, loom)
    with pytest.raises(TypeError, match=r"loom \(complex128\)"):
        pb.judge([1.0], [1.0 + 1j])
    with pytest.raises(ValueError, match="native: 1 of its numbers are masked"):
        pb.judge(np.ma.array([1.0, 2.0], mask=[0, 1]), [1.0, 2.0])


def test_one_rule_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    """Streams, engines, ladders: outputs of 1e-6 that are zeros are DIFF, 1e4 rounded is PASS."""
    layers = [{"index": 0, "dim": 2, "weights": [1e-6, 1e-6]}]
    document = {"planet": "p", "model_id": "m", "dim": 2, "seq_len": 1, "layers": layers}
    r = stream_bedrock("rmsnorm", document, inputs=[[3.0, 4.0]], native_outputs=[[0.0, 1e-9]], output_path="r.entity")
    assert (r.compare_label, r.original_label) == ("DIFF", "PASS") and r.nmse is not None and r.nmse > 1
    layers[0]["weights"] = [1e4, 1e4]
    native = 1e4 * np.array([[3.0, 4.0]]) / np.sqrt(12.5 + 1e-6)
    r = stream_bedrock("rmsnorm", document, inputs=[[3.0, 4.0]], native_outputs=native * (1 + 2e-7), output_path="r.entity")
    assert (r.compare_label, r.original_label) == ("PASS", "DIFF") and "DIFF" in r._repr_html_()
    row = pb.EngineStreamResult("rmsnorm", "p", "m", 1, "", np.full((1, 2), 1e-6), np.zeros((1, 2)), "DIFF")
    assert row.comparison is not None and row.comparison.label == "DIFF" and row.comparison.original_label == "PASS"
    pb.print_compare_ladder(title="t", native=[1e-6], loom_stream=[0.0])
    assert "DIFF " in (said := capsys.readouterr().out) and "(the original's rule: PASS)" in said


def test_results_show_themselves() -> None:
    shown = pb.run_bedrock_smoke("rnn")._repr_html_()
    assert shown.count("PASS") == 2 and "s rule" in shown
