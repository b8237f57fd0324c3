"""A tour: catalogue, smoke, ladder, a live planet, a model of one's own, the stream itself, dtypes.

    python 06_showcase_everything.py
    python 06_showcase_everything.py --quick      # three bedrocks
"""

import argparse
import sys

import numpy as np

import planetbridging as pb
from planetbridging import absorb, engines
from planetbridging.stream import stream_layernorm


def heading(text: str) -> None:
    print(f"\n── {text}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="dense, mha and layernorm alone")
    quick = parser.parse_args().quick
    bedrocks = ("dense", "mha", "layernorm") if quick else pb.BEDROCK_IDS
    failures = []

    heading("catalogue")
    for bedrock in bedrocks:
        print(f"{bedrock:<10} {pb.BEDROCKS[bedrock].stream_model_id:<22} {', '.join(engines.available_planets(bedrock))}")
    installed = engines.installed_planets()
    print(f"installed here: {', '.join(installed) or 'none'}")

    heading("smoke: NumPy reference → loom-stream")
    for bedrock in bedrocks:
        s = pb.run_bedrock_smoke(bedrock)
        print(f"{bedrock:<10} {s.compare_label:<6} max |Δ| {s.max_abs_diff:.1e}")
        failures += [f"smoke {bedrock}"] * (s.compare_label not in ("EXACT", "PASS"))

    heading("ladder: NumPy reference → loom-stream → entity reloaded")
    for bedrock in bedrocks:
        r = pb.run_bedrock_ladder(bedrock)
        print(f"{bedrock:<10} {r.native_vs_loom:<6} {r.native_vs_welvet:<6} {r.loom_vs_welvet}")
        failures += [f"ladder {bedrock}"] * (r.loom_vs_welvet != "EXACT")

    heading("live planets")
    for planet in installed:
        results = [engines.stream(b, planet) for b in bedrocks if planet in engines.available_planets(b)]
        good = [r for r in results if r.native_vs_loom in ("EXACT", "PASS")]
        worst = max(r.max_abs_diff or 0.0 for r in results)
        print(f"{planet:<11} {len(good)} of {len(results)} EXACT or PASS, worst max |Δ| {worst:.1e}")
        failures += [f"{planet} {r.bedrock}" for r in results if r not in good]

    if "sklearn" in installed:
        heading("a model of one's own: scikit-learn")
        from sklearn.neural_network import MLPRegressor

        rng = np.random.default_rng(0)
        x = rng.normal(size=(200, 6))
        mlp = MLPRegressor(hidden_layer_sizes=(16, 16), max_iter=200, random_state=0).fit(x, np.sin(x[:, :2]))
        own = absorb.sklearn(mlp, inputs=x[:20], model_id="waves", output_path=".planetbridging/examples/waves.entity")
        print(f"{own.entity_path}: {own.layer_count} layers, {own.compare_label}, max |Δ| {own.max_abs_diff:.1e}")
        failures += ["absorb"] * (own.compare_label not in ("EXACT", "PASS"))

    heading("the stream itself")
    payload = {"planet": "mine", "model_id": "norm", "dim": 4, "seq_len": 1,
               "layers": [{"kind": "layernorm", "index": 0, "dim": 4, "weights": [1.0] * 4 + [0.5] * 4}]}
    y = stream_layernorm(payload, inputs=np.arange(4.0), output_path=".planetbridging/examples/norm.entity")
    print(f"{y.entity_path}: {np.round(y.outputs, 3)}")

    heading("the same entity in other dtypes")
    path = pb.run_bedrock_smoke("dense").entity_path
    network, x = pb.load(path), np.random.default_rng(1).normal(size=(8, 32)).astype(np.float32)
    exact = network.forward(x)
    for dtype in ("float32", "float16", "int8", "int4", "ternary"):
        small = network.morph(dtype)
        print(f"{dtype:<8} {small.weight_bytes:>6} bytes of weights, max |Δ| {np.abs(small.forward(x) - exact).max():.1e}")

    print(f"\n{'all good' if not failures else 'failed: ' + ', '.join(failures)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
