"""All 13 bedrocks from one planet.

    python 02_all_layer_types.py             # PyTorch
    python 02_all_layer_types.py tensorflow
"""

import sys

from planetbridging import engines


def main() -> int:
    planet = sys.argv[1] if len(sys.argv) > 1 else "pytorch"
    results = engines.stream_all_bedrocks(planet)
    print(f"{'bedrock':<10} {'model':<22} {'label':<6} max |Δ|")
    for r in results:
        apart = r.welvet_note if r.max_abs_diff is None else f"{r.max_abs_diff:.1e}"
        print(f"{r.bedrock:<10} {r.model_id:<22} {r.native_vs_loom:<6} {apart}")
    good = sum(r.native_vs_loom in ("EXACT", "PASS") for r in results)
    print(f"{good} of {len(results)} EXACT or PASS")
    return 0 if good == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
