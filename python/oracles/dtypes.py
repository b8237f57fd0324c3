"""Freezes the answers of NumPy and ml_dtypes for the standard numerics: `python oracles/dtypes.py OUT`.

For every type of at most 16 bits:
`<name>.decode`  the value of every code, float32 little-endian, in code order (of the 16-bit
                 types only its SHA-256, `<name>.decode.sha256`, NaNs made canonical);
`<name>.encode`  the code of 65,536 float32 inputs, one or two bytes each. Input i has the bits
                 `i << 16 | (i * 40503 & 0xffff)`: every sign, exponent and upper mantissa.

ml_dtypes turns values beyond the range of FP8 into NaN or infinity where we saturate; the
test that reads these files knows that one exception.
"""

import hashlib
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
    versions = f"numpy {np.__version__}, ml_dtypes {ml_dtypes.__version__}\n"
    (out / "VERSIONS").write_text(versions)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
