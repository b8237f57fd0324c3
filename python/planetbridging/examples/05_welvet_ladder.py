"""Three rungs: the native forward, loom-stream, and the entity reloaded into this process.

    python 05_welvet_ladder.py                # every bedrock, NumPy as native
    python 05_welvet_ladder.py cnn1 mha       # these
    python 05_welvet_ladder.py --planet pytorch lstm mixer
"""

import argparse
import sys

from planetbridging import BEDROCK_IDS, engines, print_compare_ladder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bedrocks", nargs="*", metavar="bedrock")
    parser.add_argument("--planet", default="numpy")
    args, good = parser.parse_args(), True
    for bedrock in args.bedrocks or BEDROCK_IDS:
        r = engines.ladder(bedrock, args.planet)
        n = len(r.native) if r.welvet is None else len(r.welvet)
        print_compare_ladder(title=f"{bedrock} / {r.model_id} / {r.planet}", native=r.native[:n],
                             loom_stream=r.loom_stream[:n], welvet_out=r.welvet)
        if r.welvet is None:
            print(f"  {r.welvet_note}")
        good &= r.native_vs_loom != "DIFF" and r.loom_vs_welvet == "EXACT"
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
