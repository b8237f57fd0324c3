"""Freezes the answers of NumPy and ml_dtypes for the standard numerics: `python oracles/dtypes.py OUT`.

For every type of at most 16 bits:
`<name>.decode`  the value of every code, float32 little-endian, in code order (of the 16-bit
                 types only its SHA-256, `<name>.decode.sha256`, NaNs made canonical);
`<name>.encode`  the code of 65,536 float32 inputs, one or two bytes each. Input i has the bits
                 `i << 16 | (i * 40503 & 0xffff)`: every sign, exponent and upper mantissa.

For the whole-number types of at most 16 bits, `whole.json` has the SHA-256 of the codes (one or two
bytes each, little-endian) that NumPy's rounding and clipping give 65,536 weights at the scale
SCALE, ties and overflows among them, and of the float32 values of all codes at that scale.

ml_dtypes turns values beyond the range of FP8 into NaN or infinity where we saturate; the
test that reads these files knows that one exception.
"""

import hashlib
import json
import sys
from pathlib import Path

import ml_dtypes
import numpy as np

TYPES = {
    "float16": (np.float16, np.uint16, 16),
    "bfloat16": (ml_dtypes.bfloat16, np.uint16, 16),
    "fp8e4m3": (ml_dtypes.float8_e4m3fn, np.uint8, 8),
    "fp8e5m2": (ml_dtypes.float8_e5m2, np.uint8, 8),
    "fp4": (ml_dtypes.float4_e2m1fn, np.uint8, 4),
    "int4": (ml_dtypes.int4, np.uint8, 4),
    "int2": (ml_dtypes.int2, np.uint8, 2),
}


SCALE = np.float32(0.37)

# Bits, smallest and largest number, zero point.
WHOLE = {
    **{f"int{b}": (b, -(1 << b - 1), (1 << b - 1) - 1, 0) for b in (16, 8, 4, 2)},
    **{f"uint{b}": (b, -(1 << b - 1), (1 << b - 1) - 1, 1 << b - 1) for b in (16, 8, 4, 2)},
    "ternary": (2, -1, 1, 0),
    "binary": (1, -1, 1, 0),
}


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()


def whole(name: str) -> dict[str, str]:
    bits, low, high, zero = WHOLE[name]
    # Steps of a sixteenth of a code (of eight codes in the 16-bit types), over the range and beyond.
    step = 8.0 if bits == 16 else 1 / 16
    weights = ((np.arange(1 << 16) - (1 << 15)) * step * np.float64(SCALE)).astype(np.float32)
    numbers = np.rint(weights.astype(np.float64) / np.float64(SCALE)).clip(low, high).astype(np.int64)
    if name == "binary":
        codes, values = (weights >= 0).astype(np.int64), np.array([-1, 1])
    else:
        codes = numbers + zero & (1 << bits) - 1
        every = np.arange(1 << bits)
        values = every - zero if zero else np.where(every >= 1 << bits - 1, every - (1 << bits), every)
    width = np.uint16 if bits == 16 else np.uint8
    return {
        "encode": sha256(codes.astype(width)),
        "decode": sha256((values * np.float64(SCALE)).astype(np.float32)),
    }


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    i = np.arange(1 << 16, dtype=np.uint64)
    inputs = (i << 16 | (i * 40503 & 0xFFFF)).astype(np.uint32).view(np.float32)
    for name, (dtype, code, bits) in TYPES.items():
        codes = np.arange(1 << bits, dtype=code)
        with np.errstate(all="ignore"):
            if bits == 4 or bits == 2:
                # Sub-byte types sit in the low bits of a byte.
                values = codes.astype(np.uint8).view(dtype).astype(np.float32)
            else:
                values = codes.view(dtype).astype(np.float32)
            content = np.where(np.isnan(values), np.float32("nan"), values).astype("<f4").tobytes()
            if bits == 16:
                (out / f"{name}.decode.sha256").write_text(hashlib.sha256(content).hexdigest() + "\n")
            else:
                (out / f"{name}.decode").write_bytes(content)
            if not name.startswith("int"):
                encoded = inputs.astype(dtype).view(code)
                (out / f"{name}.encode").write_bytes(encoded.astype(encoded.dtype.newbyteorder("<")).tobytes())
    (out / "whole.json").write_text(json.dumps({name: whole(name) for name in WHOLE}, indent=1) + "\n")
    versions = f"numpy {np.__version__}, ml_dtypes {ml_dtypes.__version__}\n"
    (out / "VERSIONS").write_text(versions)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
