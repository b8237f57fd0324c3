"""Runs matrix products of other libraries, one at a time, for `bedrock bench kernels`.

Reads a request a line on standard input and answers with a line of JSON: the seconds that one
product took, or null when the library is not installed. The first line out says what is
installed. Thread counts come from the environment (OPENBLAS_NUM_THREADS, BENCH_THREADS).
"""

import ctypes
import json
import os
import sys
import time

THREADS = int(os.environ.get("BENCH_THREADS", "1"))


def library(name):
    try:
        return __import__(name)
    except ImportError:
        return None


NUMPY, TORCH, WELVET = library("numpy"), library("torch"), library("welvet")
if TORCH is not None:
    TORCH.set_num_threads(THREADS)


class Numpy:
    """float32 through NumPy's BLAS."""

    def __init__(self, rows, outs, depth, _dtype):
        random = NUMPY.random.default_rng(0)
        self.x = random.standard_normal((depth, rows), dtype=NUMPY.float32)
        self.w = random.standard_normal((outs, depth), dtype=NUMPY.float32)
        if rows == 1:
            self.x = self.x[:, 0]

    def run(self):
        self.w @ self.x


class Torch:
    """float32 through PyTorch, into a tensor that is there already."""

    def __init__(self, rows, outs, depth, _dtype):
        self.w = TORCH.randn(outs, depth)
        shape = (depth,) if rows == 1 else (depth, rows)
        self.x = TORCH.randn(*shape)
        self.out = TORCH.empty(*((outs,) if rows == 1 else (outs, rows)))

    def run(self):
        TORCH.matmul(self.w, self.x, out=self.out)


class Loom:
    """One Dense layer of the original runtime in a storage type, through its C interface.

    The answer comes as JSON, which costs the original time that is not the layer's: what a
    layer without weights takes for as many numbers is measured too and taken off.
    """

    def __init__(self, rows, outs, depth, dtype):
        from welvet import utils

        self.utils, self.shape = utils, [rows, depth]
        dense = {"type": "DENSE", "input_height": depth, "output_height": outs, "activation": "LINEAR"}
        self.dense = self.network(dense)
        utils.morph_layer(self.dense, 0, dtype)
        self.empty = self.network({"type": "RESIDUAL"})
        count = rows * depth
        self.x = (ctypes.c_float * count)(*[((i * 7919) % 1000) / 500 - 1 for i in range(count)])
        count = rows * outs
        self.y = (ctypes.c_float * count)(*[((i * 7919) % 1000) / 500 - 1 for i in range(count)])
        self.y_shape = [rows, outs]

    def network(self, layer):
        place = {"z": 0, "y": 0, "x": 0, "l": 0, "dtype": "FLOAT32"}
        grid = {"depth": 1, "rows": 1, "cols": 1, "layers_per_cell": 1}
        handle = self.utils.build_network({"id": "bench", **grid, "layers": [{**layer, **place}]})
        self.utils.configure_training_mode(handle, 1 if THREADS == 1 else 2)
        return handle

    def call(self, handle, data, shape):
        forward = self.utils._LoomForwardPolymorphic
        shape = json.dumps(shape).encode()
        start = time.perf_counter()
        forward(handle, data, len(data), shape)
        return time.perf_counter() - start

    def timed(self):
        transport = self.call(self.empty, self.y, self.y_shape)
        return max(self.call(self.dense, self.x, self.shape) - transport, 1e-9)


RIVALS = {"numpy": (NUMPY, Numpy), "torch": (TORCH, Torch), "loom": (WELVET, Loom)}


def main():
    installed = {name: getattr(module, "__version__", "?") for name, (module, _) in RIVALS.items() if module}
    print(json.dumps(installed), flush=True)
    kept = (None, None)
    for line in sys.stdin:
        name, rows, outs, depth, dtype = line.split()
        module, make = RIVALS[name]
        if module is None:
            print("null", flush=True)
            continue
        if kept[0] != line:
            kept = (line, make(int(rows), int(outs), int(depth), int(dtype)))
        rival = kept[1]
        if hasattr(rival, "timed"):
            seconds = rival.timed()
        else:
            start = time.perf_counter()
            rival.run()
            seconds = time.perf_counter() - start
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
