"""Models of several layers: an MLP, convolution stacks, and the mixer that has every family.

    python 04_multi_layer_models.py            # PyTorch
    python 04_multi_layer_models.py jax
"""

import sys

from planetbridging import engines, load


def main() -> int:
    planet, good = (sys.argv[1] if len(sys.argv) > 1 else "pytorch"), True
    for bedrock in ("dense", "cnn1", "cnn2", "cnn3", "mixer"):
        r = engines.stream(bedrock, planet)
        good &= r.native_vs_loom in ("EXACT", "PASS")
        print(f"{r.model_id}: {r.native_vs_loom}, max |Δ| {r.max_abs_diff:.1e}")
        print(f"  {load(r.entity_path)!r}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
