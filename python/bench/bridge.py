"""Both bridges over every bedrock, model and planet: `python python/bench/bridge.py --original PYTHON`.

PYTHON is an interpreter that has `planetbridging==0.7.3` (the original) and the planets installed; this
one has ours. Each bridge streams all 195 models of the original's manifests from the live planets. Then the
requests that the original sent are given to both programs: same answer, same bytes, time and peak memory.

Writes `reports/bridge.md`. Times and memory are of the machine that it ran on."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from planetbridging._binary import find_loom_stream
from planetbridging.compare import ATOL, NMSE, RTOL, Comparison, judge

ROOT = Path(__file__).resolve().parents[2]

ORIGINAL = r"""
import json, os, sys
from pathlib import Path
from planetbridging import engines, bedrocks
from planetbridging.bedrock_smoke import _load_bedrock_module
import numpy as np
planet, log = sys.argv[1], Path(os.environ["BRIDGE_LOG"])
with open(sys.argv[2], "w") as out:
    for bedrock in bedrocks.BEDROCK_IDS:
        if planet not in engines.available_planets(bedrock):
            continue
        for model in _load_bedrock_module(engines.repo_root(), bedrock, "manifest").load_manifest().models:
            row = {"bedrock": bedrock, "planet": planet, "model": model.id}
            os.environ["BRIDGE_REQUEST"] = str(log / f"{bedrock}-{planet}-{model.id}.json")
            try:
                r = engines.stream(bedrock, planet, model_id=model.id)
                row["label"] = r.native_vs_loom
                np.savez(sys.argv[2] + f".{bedrock}.{model.id}.npz", native=r.native, loom=r.loom_stream)
            except Exception as error:
                row |= {"label": "ERROR", "what": f"{type(error).__name__}: {error}"}
            print(json.dumps(row), file=out, flush=True)
"""

OURS = r"""
import json, sys
import numpy as np
from planetbridging import bedrocks, engines
planet, wanted = sys.argv[1], [json.loads(line) for line in open(sys.argv[3])]
with open(sys.argv[2], "w") as out:
    for row in wanted:
        row = {"bedrock": row["bedrock"], "planet": planet, "model": row["model"]}
        try:
            r = engines.stream(row["bedrock"], planet, model_id=row["model"], try_welvet=True)
            row |= {"label": r.native_vs_loom, "reload": r.loom_vs_welvet, "note": r.native_note}
            np.savez(sys.argv[2] + f".{row['bedrock']}.{row['model']}.npz", native=r.native, loom=r.loom_stream)
        except Exception as error:
            row |= {"label": "ERROR", "what": f"{type(error).__name__}: {error}"}
        print(json.dumps(row), file=out, flush=True)
"""

# Keeps the request and hands it on.
RECORDER = """#!{python}
import os, subprocess, sys
text = sys.stdin.buffer.read()
open(os.environ["BRIDGE_REQUEST"], "wb").write(text)
sys.exit(subprocess.run([{binary!r}], input=text).returncode)
"""


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def judged(rows: Path, row: dict[str, Any]) -> Comparison | None:
    """A row's outputs, judged here: both bridges by one rule."""
    outputs = rows.with_name(f"{rows.name}.{row['bedrock']}.{row['model']}.npz")
    if row["label"] == "ERROR":
        return None
    with np.load(outputs) as arrays:
        return judge(arrays["native"], arrays["loom"])


def stream_all(python: str, script: str, planet: str, out: Path, env: dict[str, str], *more: str) -> None:
    """Runs one bridge over one planet, unless its rows are there already."""
    if not (out.with_suffix(".done")).is_file():
        quiet = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run([python, "-c", script, planet, str(out), *more], env={**os.environ, **quiet, **env}, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        out.with_suffix(".done").touch()


def calls(meter: Path, binary: str, request: Path) -> tuple[list[float], float]:
    """Seconds of a few calls, and MiB at the peak. `bedrock` starts them: the peak of a child of this process
    would be that of this process."""
    with request.open("rb") as document:
        ran = subprocess.run([meter, "bench", "stream", "--job", binary], stdin=document, cwd=request.parent, check=True,
                             stdout=subprocess.PIPE)
    costs = json.loads(ran.stdout)
    return [cost["wall_seconds"] for cost in costs], max(cost["peak_kib"] for cost in costs) / 1024


def blobs(path: Path) -> tuple[Any, dict[str, bytes]]:
    """The header without its blob list, and the bytes of each blob."""
    data = path.read_bytes()
    size = int.from_bytes(data[12:20], "little")
    header, body = json.loads(data[20 : 20 + size]), data[20 + size :]
    found = {b["path"]: body[b["offset"] : b["offset"] + b["length"]] for b in header.pop("blobs") or []}
    return header, found


def replay(request: Path, programs: dict[str, str], meter: Path, runs: int) -> dict[str, Any]:
    """The same request to both programs, in turns."""
    document = json.loads(request.read_text())
    document.pop("output_path", None)
    found: dict[str, Any] = {}
    files, answers = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        requests = {name: Path(scratch, f"{name}.json") for name in programs}
        for name, path in requests.items():
            path.write_text(json.dumps({**document, "models_dir": f"{scratch}/{name}"}))
        times: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(runs):
            for name, binary in programs.items():
                seconds, peak = calls(meter, binary, requests[name])
                times[name] += seconds
                found[f"{name}_mib"] = max(peak, found.get(f"{name}_mib", 0.0))
        for name, binary in programs.items():
            ran = subprocess.run([binary], input=requests[name].read_bytes(), capture_output=True, check=True)
            answers[name] = json.loads(ran.stdout)
            found[f"{name}_ms"] = 1000 * statistics.median(times[name])
            files[name] = Path(answers[name]["entity_path"])
        a, b = (files[name].read_bytes() for name in programs)
        # The original writes the biases of dense layers in random order.
        found["bytes"] = "identical" if a == b else "order" if blobs(files["original"]) == blobs(files["ours"]) else "differ"
    x, y = (np.asarray(answers[name]["outputs"]) for name in programs)
    found["apart"] = float(np.abs(x - y).max()) if x.shape == y.shape else float("inf")
    return found


CAUSES = {
    "layernorm_4": "the original's reference is NumPy on float64 inputs, Loom reads float32: rows of nearly equal numbers amplify the rounding. Both get the same float32 inputs here",
    "mixer_all_v2": "the original's mixer normalises the first of two rows and zeroes the second",
    "mlp_32_32_32_8_relu": "a square kernel is taken for PyTorch's layout and not transposed; here layout follows the planet, never the shape",
    "mlp_16_16_16_16_4_relu": "as mlp_32_32_32_8_relu",
    "mlp_32_16_8_no_bias": "scikit-learn trains intercepts that the original drops from the stream; here they are held at zero while it trains",
    "conv1_32_8_4_2layer": "outputs are flattened [length, channels] there and [channels, length] in Loom; here channels are moved first",
}


def render(rows: list[dict[str, Any]], versions: str) -> str:
    labels = ("EXACT", "PASS", "DIFF", "ERROR")
    text = ["# Both bridges on the same planets", ""]
    text += [f"`python python/bench/bridge.py --original PYTHON`, with {versions}.", ""]
    text += ["Left the original bridge (planetbridging 0.7.3), right ours. Labels compare a planet's native outputs `e` with",
             f"Loom's: EXACT, PASS inside the band, DIFF. The band grows with the outputs: NMSE ≤ {NMSE:.0e} and",
             f"`|Δ| ≤ {ATOL:.0e}·max|e| + {RTOL:.0e}·|e|`, so that zeros never pass for small outputs and rounding always passes for large",
             "ones. The original's rule is `|Δ| < 1e-5`, whatever the size. Its bridge compares lstm, rnn (but for PyTorch), the",
             "norms, embedding, swiglu, residual and most mixers with a NumPy imitation of the planet; ours compares everything with",
             "the planet's own operators.", ""]
    text += ["| | " + " | ".join(labels) + " | calls |", "|---|" + "---|" * (len(labels) + 1)]
    for bridge in ("original", "ours"):
        for key, rule in (("original_label", "the original's rule"), ("label", "the band")):
            found = [verdict(row[bridge], key) for row in rows]
            text.append(f"| {bridge}, by {rule} | " + " | ".join(str(found.count(label)) for label in labels) + f" | {len(rows)} |")
    reload = sum(row["reload"] == "EXACT" for row in rows)
    same = sum(row.get("bytes") == "identical" for row in rows)
    order = sum(row.get("bytes") == "order" for row in rows)
    apart = [row["apart"] for row in rows if "apart" in row and "mixer_all_v2" != row["model"]]
    worst = max((row["ours"].nmse for row in rows if row["ours"]), default=0.0)
    text += ["", f"The largest NMSE of ours is {worst:.1e}.", ""]
    text += [f"Entities reloaded into the process and run again: {reload} of {len(rows)} EXACT against the stream.", ""]
    text += ["The requests that the original's package sends, given to both programs: "
             f"{same} of {len(rows)} files identical to the byte, {order} identical but for the order in which the original",
             f"writes the biases of dense layers (random in each run), {len(rows) - same - order} other. Outputs are at most "
             f"{max(apart, default=0):.1e} apart, `mixer_all_v2` aside.", ""]
    ratio = [row["original_ms"] / row["ours_ms"] for row in rows if "ours_ms" in row]
    memory = [row["original_mib"] / row["ours_mib"] for row in rows if "ours_mib" in row]
    if ratio:
        text += [f"Time of a call: {statistics.median(ratio):.1f}× faster in the median ({min(ratio):.1f}× to {max(ratio):.1f}×); "
                 f"peak memory {statistics.median(memory):.1f}× less ({min(memory):.1f}× to {max(memory):.1f}×).", ""]
    text += ["## What the original has as DIFF, by either rule", "", "| bedrock | model | planet | original | ours | cause |",
             "|---|---|---|---|---|---|"]
    for row in rows:
        if not {verdict(row["original"], "label"), verdict(row["original"], "original_label")} <= {"EXACT", "PASS"}:
            text.append(f"| {row['bedrock']} | {row['model']} | {row['planet']} | {cell(row['original'])} | "
                        f"{cell(row['ours'])} | {CAUSES.get(row['model'], '?')} |")
    small = [row for row in rows if row["ours"] and row["ours"].largest < ATOL]
    text += ["", "## Outputs that are smaller than the original's tolerance", "",
             "The original's rule passes zeros for these; the band does not.", "",
             "| bedrock | model | planet | max \\|e\\| | original | ours |", "|---|---|---|---|---|---|"]
    for row in small:
        text.append(f"| {row['bedrock']} | {row['model']} | {row['planet']} | {number(row['ours'].largest)} | "
                    f"{cell(row['original'])} | {cell(row['ours'])} |")
    notes = {(row["model"], row["planet"]): row["note"] for row in rows if row.get("note")}
    if notes:
        text += ["", "Native outputs in float64 where a planet's own float32 error is beyond the tolerance:", ""]
        text += [f"- {model}, {planet}: {why}" for (model, planet), why in sorted(notes.items())]
    text += ["", "## Every call", "", "Labels by the band. max |e|: the largest native output; ms: median of the calls of each program; MiB: peak.", "",
             "| bedrock | model | planet | max \\|e\\| | original | max \\|Δ\\| | ours | max \\|Δ\\| | NMSE | by the original's rule | file | original ms | ours ms | original MiB | ours MiB |",
             "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        a, b = row["original"], row["ours"]
        cells = [row["bedrock"], row["model"], row["planet"], number(b and b.largest), verdict(a, "label"),
                 number(a and a.max_abs_diff), verdict(b, "label"), number(b and b.max_abs_diff), number(b and b.nmse),
                 verdict(b, "original_label"), {"order": "order of biases"}.get(row.get("bytes", ""), row.get("bytes", ""))]
        cells += [f"{row[key]:.1f}" if key in row else "" for key in ("original_ms", "ours_ms", "original_mib", "ours_mib")]
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def verdict(found: Comparison | None, key: str) -> str:
    return getattr(found, key) if found else "ERROR"


def cell(found: Comparison | None) -> str:
    """A label, and what makes it."""
    return f"{found.label} {number(found.max_abs_diff)}, NMSE {number(found.nmse)}" if found else "ERROR"


def number(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:.1e}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--original", required=True, help="the Python of the original bridge's environment")
    parser.add_argument("--binary", help="our loom-stream, with bedrock beside it; the package's own otherwise")
    parser.add_argument("--work", type=Path, default=ROOT / "target/bridge", help="where requests and rows are kept")
    parser.add_argument("--planets", nargs="+", default=["pytorch", "tensorflow", "jax", "sklearn"])
    parser.add_argument("--runs", type=int, default=5, help="turns of both programs, of 5 timed calls each")
    parser.add_argument("--out", type=Path, default=ROOT / "reports/bridge.md")
    args = parser.parse_args()
    args.binary = str(find_loom_stream(args.binary))
    args.work.mkdir(parents=True, exist_ok=True)
    found = subprocess.run([args.original, "-c", "from planetbridging._paths import bundled_loom_stream as b; print(b())"],
                           check=True, capture_output=True, text=True)
    theirs = found.stdout.strip()
    os.chmod(theirs, 0o755)
    recorder = args.work / "recorder"
    recorder.write_text(RECORDER.format(python=sys.executable, binary=theirs))
    recorder.chmod(0o755)
    requests = args.work / "requests"
    requests.mkdir(exist_ok=True)
    rows = []
    for planet in args.planets:
        original, ours = args.work / f"original-{planet}.jsonl", args.work / f"ours-{planet}.jsonl"
        print(f"{planet}: the original", file=sys.stderr, flush=True)
        stream_all(args.original, ORIGINAL, planet, original,
                   {"PLANETBRIDGING_LOOM_STREAM": str(recorder), "BRIDGE_LOG": str(requests),
                    # Not ours, which has no rows to train on.
                    "PLANETBRIDGING_FIXTURES_CACHE": str(args.work / "fixtures")})
        print(f"{planet}: ours", file=sys.stderr, flush=True)
        stream_all(sys.executable, OURS, planet, ours, {
            "PLANETBRIDGING_LOOM_STREAM": args.binary, "PLANETBRIDGING_ROOT": str(args.work),
            "PYTHONPATH": str(ROOT / "python")}, str(original))
        for a, b in zip(lines(original), lines(ours), strict=True):
            rows.append({"bedrock": a["bedrock"], "model": a["model"], "planet": planet, "original": judged(original, a),
                         "ours": judged(ours, b), "reload": b.get("reload"), "note": b.get("note"), "what": b.get("what")})
    order = ["dense", "cnn1", "cnn2", "cnn3", "mha", "lstm", "rnn", "layernorm", "embedding", "rmsnorm", "swiglu",
             "residual", "mixer"]
    rows.sort(key=lambda row: order.index(row["bedrock"]))
    for row in rows:
        request = requests / f"{row['bedrock']}-{row['planet']}-{row['model']}.json"
        if request.is_file():
            row |= replay(request, {"original": theirs, "ours": args.binary}, Path(args.binary).with_name("bedrock"), args.runs)
    listed = subprocess.run([args.original, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True)
    wanted = ("torch", "tensorflow", "tensorflow_cpu", "keras", "jax", "flax", "scikit-learn", "numpy")
    versions = ", ".join(line.replace("==", " ") for line in listed.stdout.split() if line.split("==")[0] in wanted)
    args.out.write_text(render(rows, versions), encoding="utf-8")
    bad = [row for row in rows if verdict(row["ours"], "label") not in ("EXACT", "PASS")]
    for row in bad:
        print(f"{row['bedrock']} {row['model']} {row['planet']}: {cell(row['ours'])} {row['what'] or ''}", file=sys.stderr)
    print(f"{args.out}: {len(rows)} calls, ours {len(rows) - len(bad)} EXACT or PASS")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
