"""Shows that the real Loom 0.80 (welvet) reads our version 1 files and computes what we compute.

python welvet_loads.py BEDROCK, with welvet==0.80.0 installed. For each of the 13 bedrocks a small
network with random weights is written as version 1 by that binary in each of the 21 dtypes, loaded by
welvet and by us, and run on one input. Exit status 1 when a file is refused or an output is off by
more than 1e-5 of the largest one.
"""

import base64
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import welvet
from welvet import utils

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from entity_v2 import DTYPES  # noqa: E402

RANDOM = np.random.default_rng(80)


def layer(kind, count, **keys):
    """A layer with float32 masters, which the writer stores in its dtype."""
    made = {"type": kind, "activation": keys.pop("activation", "Linear"), "dtype": "float32", **keys}
    if count:
        weights = RANDOM.uniform(-0.5, 0.5, count).astype("<f4")
        made |= {"weights": base64.b64encode(weights.tobytes()).decode(), "scale": 1}
    return made


def dense(i, o, activation="Linear"):
    return layer("Dense", i * o, input_height=i, output_height=o, activation=activation)


def conv(n, channels, filters, size, kernel=3):
    names = {1: ["height"], 2: ["height", "width"], 3: ["depth", "height", "width"]}[n]
    sizes = {f"{side}_{name}": size for side in ("input", "output") for name in names}
    count = filters * channels * kernel**n
    return layer(f"CNN{n}", count, **sizes, input_channels=channels, filters=filters, kernel_size=kernel,
                 stride=1, padding=1, activation="Tanh")


def mha(d, heads, kv, seq):
    e = d // heads
    count = 2 * d * d + 2 * kv * e * d + 2 * d + 2 * kv * e
    return layer("MultiHeadAttention", count, d_model=d, num_heads=heads, num_kv_heads=kv, head_dim=e, seq_length=seq)


def recurrent(kind, i, o, seq):
    gates = 4 if kind == "LSTM" else 1
    return layer(kind, gates * (i * o + o * o + o), input_height=i, output_height=o, seq_length=seq)


def norm(kind, d):
    return layer(kind, d if kind == "RMSNorm" else 2 * d, input_height=d, output_height=d)


def swiglu(i, m):
    return layer("SwiGLU", 3 * i * m + 2 * m + i, input_height=i, output_height=m)


def embedding(vocab, dim):
    return layer("Embedding", vocab * dim, vocab_size=vocab, embedding_dim=dim)


def residual(inner):
    return layer("Sequential", 0, sequential_layers=[inner, layer("Residual", 0)])


# The layers of each bedrock and the shape of its input: two-dimensional where the original reads only
# the first rows of more. An embedding reads ids.
BEDROCKS = {
    "dense": ([dense(12, 9, "ReLU"), dense(9, 5, "Tanh")], [3, 12]),
    "cnn1": ([conv(1, 2, 4, 9), conv(1, 4, 3, 9)], [2, 2, 9]),
    "cnn2": ([conv(2, 2, 4, 5), conv(2, 4, 3, 5)], [2, 2, 5, 5]),
    "cnn3": ([conv(3, 2, 3, 4)], [2, 2, 4, 4, 4]),
    "mha": ([mha(8, 4, 2, 5)], [5, 8]),
    "lstm": ([recurrent("LSTM", 6, 5, 4)], [1, 24]),
    "rnn": ([recurrent("RNN", 6, 5, 4)], [1, 24]),
    "layernorm": ([norm("LayerNorm", 7)], [4, 7]),
    "embedding": ([embedding(11, 6)], [1, 5]),
    "rmsnorm": ([norm("RMSNorm", 7)], [4, 7]),
    "swiglu": ([swiglu(6, 9)], [4, 6]),
    "residual": ([residual(dense(6, 6, "Sigmoid"))], [3, 6]),
    "mixer": ([dense(8, 8, "ReLU"), norm("RMSNorm", 8), residual(mha(8, 2, 2, 4)), norm("LayerNorm", 8),
               residual(swiglu(8, 6)), dense(8, 4)], [4, 8]),
}


def main(bedrock):
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        for name, (layers, shape) in BEDROCKS.items():
            grid = {"id": name, "depth": 1, "rows": 1, "cols": 1, "layers_per_cell": len(layers)}
            document = {**grid, "layers": [{"z": 0, "y": 0, "x": 0, "l": l} | layer for l, layer in enumerate(layers)]}
            (path / "master.json").write_text(json.dumps(document))
            size = int(np.prod(shape))
            x = np.arange(size) % 11 if name == "embedding" else RANDOM.standard_normal(size)
            x = x.astype(np.float32).reshape(shape)
            np.save(path / "x.npy", x)
            worst = 0.0
            for dtype in DTYPES:
                file = path / "a.entity"
                command = [bedrock, "entity", "convert", path / "master.json", file, "--to", "v1", "--dtype", dtype]
                subprocess.run([*command, "--as-loom"], check=True, capture_output=True)
                command = [bedrock, "entity", "run", file, "--input", path / "x.npy", "--output", path / "y.npy"]
                subprocess.run(command, check=True, capture_output=True)
                ours = np.load(path / "y.npy").ravel()
                handle = utils.deserialize_entity(file.read_bytes())
                theirs = np.array(utils.forward_polymorphic(handle, x.ravel().tolist(), shape), np.float32).ravel()
                utils._LoomFreeNetwork(handle)
                if ours.shape != theirs.shape:
                    failures.append(f"{name} {dtype}: {ours.shape} and {theirs.shape}")
                    continue
                off = float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))
                worst = max(worst, off)
                if not off <= 1e-5:
                    failures.append(f"{name} {dtype}: off by {off:.3e}")
            print(f"{name:10} {len(DTYPES)} dtypes, worst difference {worst:.1e}")
    print(*failures, sep="\n")
    print(f"welvet {getattr(welvet, '__version__', '?')}: {len(BEDROCKS) * len(DTYPES)} files, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
