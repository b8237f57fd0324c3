"""Holds the reader of docs/entity-v2.md to what the real Loom 0.80 recorded.

python test_entity_v2.py BEDROCK converts the recorded version 1 files with that binary, reads the
result with entity_v2.py, and compares: decode tables, float32 arrays of every layer kind with the
recorded bytes, and the forward of dense networks in all 21 dtypes with the recorded output.
"""

import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))
import entity_v2  # noqa: E402

RECORDED = ROOT / "golden/loom-0.80/entity"
ACTIVATIONS = {
    0: lambda v: np.maximum(v, 0),
    1: lambda v: v / (1 + np.exp(-v)),
    3: np.tanh,
    4: lambda v: 1 / (1 + np.exp(-v)),
    5: lambda v: np.where(v < 0, 0.01 * v, v),
    7: lambda v: v,
}


def convert(bedrock, source, folder):
    target = pathlib.Path(folder) / "a.entity"
    subprocess.run([bedrock, "entity", "convert", source, target, "--to", "v2"], check=True, capture_output=True)
    return entity_v2.read(target)


def tables():
    recorded = json.loads((RECORDED / "decode_tables.json").read_text())["tables"]
    number = {"inf": np.inf, "-inf": -np.inf, "nan": np.nan}
    for name, values in recorded.items():
        bits = entity_v2.BITS[name]
        expected = [number.get(str(v).lower().replace("infinity", "inf").lstrip("+"), v) for v in values]
        expected = np.array(expected, np.float64)
        codes = np.arange(len(expected), dtype=np.uint64)
        if bits >= 8:
            data = codes.astype(f"<u{bits // 8}").tobytes()
        else:
            data = np.packbits((codes[:, None] >> np.arange(bits)[::-1].astype(np.uint64) & 1).astype(np.uint8).ravel())
        ours = entity_v2.decode(bytes(data), len(expected), name, True, 1.0, 0)
        # The original forgets the sign of one infinity; no file may hold such a code.
        same = (ours == expected) | (np.isnan(ours) & np.isnan(expected)) | np.isinf(expected)
        assert same.all(), (name, np.flatnonzero(~same))
    return len(recorded)


def flat(file):
    """The float32 arrays of a version 1 file, by path."""
    data = file.read_bytes()
    (length,) = struct.unpack_from("<Q", data, 12)
    header = json.loads(data[20:20 + length])
    payload = data[20 + length:]
    return {b["path"]: np.frombuffer(payload, "<f4", b["length"] // 4, b["offset"]) for b in header["blobs"] or []}


def main(bedrock):
    checked = {"tables": tables(), "kinds": 0, "forwards": 0}
    with tempfile.TemporaryDirectory() as folder:
        for file in sorted(RECORDED.glob("layers/*/float32.entity")):
            _, layers, arrays = convert(bedrock, file, folder)
            nodes = dict(node for i, layer in enumerate(layers) for node in entity_v2.walk(layer, f"layers.{i}"))
            for path, expected in flat(file).items():
                of = [array for (where, _), array in arrays.items() if where == path]
                if nodes[path]["kind"] == 8:
                    # An LSTM packs gate by gate.
                    of = [np.split(array, 4)[gate] for gate in range(4) for array in of]
                ours = np.concatenate([array.ravel() for array in of])
                assert np.array_equal(ours, expected), (file, path)
            checked["kinds"] += 1
        for item in json.loads((RECORDED / "index.json").read_text())["items"]:
            if item["kind"] != "dense":
                continue
            _, layers, arrays = convert(bedrock, RECORDED / item["file"], folder)
            recorded = item["forward"]
            x = np.frombuffer(bytes.fromhex(recorded["input"]), "<f4").reshape(recorded["input_shape"])
            for i, layer in enumerate(layers):
                y = x.astype(np.float64) @ arrays[f"layers.{i}", "weight"].T
                x = ACTIVATIONS[layer["activation"]](y)
            expected = np.frombuffer(bytes.fromhex(recorded["output"]), "<f4").reshape(x.shape)
            assert np.allclose(x, expected, rtol=1e-5, atol=1e-5), (item["file"], np.abs(x - expected).max())
            checked["forwards"] += 1
    assert checked["kinds"] == 22 and checked["forwards"] == 21, checked
    print("entity_v2:", ", ".join(f"{n} {what}" for what, n in checked.items()))


if __name__ == "__main__":
    main(sys.argv[1])
