"""The same bedrock on every planet that is installed.

    python 03_cross_engine.py            # layernorm
    python 03_cross_engine.py cnn2
"""

import sys

from planetbridging import engines


def main() -> int:
    bedrock = sys.argv[1] if len(sys.argv) > 1 else "layernorm"
    print(f"{bedrock}: {', '.join(engines.installed_planets(bedrock)) or 'no planet'} of "
          f"{', '.join(engines.available_planets(bedrock))}")
    results = engines.stream_all_planets(bedrock)
    for r in results:
        apart = r.welvet_note if r.max_abs_diff is None else f"max |Δ| {r.max_abs_diff:.1e}"
        print(f"  {r.planet:<11} {r.native_vs_loom:<6} {apart}")
        if r.native_note:
            print(f"              {r.native_note}")
    return 0 if results and all(r.native_vs_loom in ("EXACT", "PASS") for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
