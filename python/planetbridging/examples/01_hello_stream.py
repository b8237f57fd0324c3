"""One model of a live planet becomes an `.entity`, and the match is proven.

    python 01_hello_stream.py            # dense, PyTorch
    python 01_hello_stream.py mha jax
"""

import sys

from planetbridging import engines


def main() -> int:
    bedrock, planet = (sys.argv[1:] + ["dense", "pytorch"][len(sys.argv) - 1 :])[:2]
    result = engines.stream(bedrock, planet, out_dir=".planetbridging/examples")
    print(f"{bedrock} on {planet}: {result.model_id}, {result.layer_count} layers")
    print(f"  entity         {result.entity_path}")
    print(f"  native → loom  {result.native_vs_loom}, max |Δ| {result.max_abs_diff:.1e} over {result.native.shape} numbers")
    return 0 if result.native_vs_loom in ("EXACT", "PASS") else 1


if __name__ == "__main__":
    sys.exit(main())
