"""PyTorch on the GPU, for `bedrock bench gpu`: one JSON line of medians.

Arguments: extent of the square matrices, bytes of a copy. Seconds of a float64 and a float32 product,
without TF32, and bytes for each second of a copy, read and written.
"""

import json
import statistics
import sys

import torch


def seconds(work, repeats=20):
    """Median seconds of `work` by the device's own clock, after a warm-up."""
    for _ in range(3):
        work()
    found = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end) / 1e3)
    return statistics.median(found)


def main():
    """Measures and prints."""
    extent, size = int(sys.argv[1]), int(sys.argv[2])
    if not torch.cuda.is_available():
        print(json.dumps({"torch": torch.__version__, "device": None}))
        return
    torch.backends.cuda.matmul.allow_tf32 = False
    result = {"torch": torch.__version__, "device": torch.cuda.get_device_name()}
    for name, dtype in (("float64", torch.float64), ("float32", torch.float32)):
        a, b = (torch.randn(extent, extent, dtype=dtype, device="cuda") for _ in range(2))
        result[name] = seconds(lambda a=a, b=b: a @ b)
    source = torch.empty(size, dtype=torch.uint8, device="cuda").fill_(1)
    target = torch.empty_like(source)
    result["copy"] = 2 * size / seconds(lambda: target.copy_(source))
    print(json.dumps(result))


main()
