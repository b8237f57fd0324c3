"""Reads `.entity` version 2 (docs/entity-v2.md): topology, and weights as NumPy arrays.

python entity_v2.py FILE prints one line for each array. Digests of sections are checked where the
package xxhash is installed; compressed files need zstandard.
"""

import hashlib
import json
import math
import struct
import sys

import numpy as np

DTYPES = ("float64 float32 float16 bfloat16 fp8e4m3 fp8e5m2 int64 int32 int16 int8 uint64 uint32 uint16 uint8 "
          "int4 uint4 fp4 int2 uint2 ternary binary").split()
BITS = dict(zip(DTYPES, (64, 32, 16, 16, 8, 8, 64, 32, 16, 8, 64, 32, 16, 8, 4, 4, 4, 2, 2, 2, 1)))
ROLES = ("weight bias gamma beta q_weight k_weight v_weight o_weight q_bias k_bias v_bias o_bias q_norm k_norm "
         "gate_weight up_weight down_weight gate_bias up_bias down_bias input_weight recurrent_weight centers slope mean variance recurrent_bias").split()
OTHER = {**{19: "f", 23: "f", 26: "f", 29: "f", 64: "f"}, **dict.fromkeys((30, 34, 36, 66, 67, 68, 73, 82), "t"),
         80: "s", 24: "s", 25: "s", 32: "s", 69: "n", 71: "n", 70: "b", 38: "r", 72: "r", 31: "R", 33: "R", 37: "M", 0: "p"}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        if self.at > len(self.data):
            raise ValueError(f"topology ends before byte {self.at}")
        return self.data[self.at - n:self.at]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def many(self, each):
        return [each() for _ in range(self.varint())]

    def value(self, kind):
        return {"i": self.varint, "f": lambda: struct.unpack("<d", self.take(8))[0], "t": lambda: True,
                "s": lambda: self.strings[self.varint()], "n": lambda: self.many(self.varint), "r": self.record,
                "R": lambda: self.many(self.record), "M": lambda: self.many(self.rule),
                "b": lambda: self.take(-(-self.varint() // 8)), "p": lambda: [self.varint() for _ in range(4)]}[kind]()

    def rule(self):
        return self.varint(), struct.unpack("<dff", self.take(16)), self.varint(), self.take(1)[0]

    def record(self):
        kind, activation, dtype = self.take(3)
        record = {"kind": kind, "activation": activation, "dtype": DTYPES[dtype]}
        for _ in range(self.varint()):
            key = self.varint()
            record[key] = self.value(OTHER.get(key, "i"))
        return record

    def topology(self):
        self.strings = self.many(lambda: self.take(self.varint()).decode())
        grid = [self.varint() for _ in range(4)]
        layers = []
        while len(layers) < math.prod(grid):
            distance = self.varint()
            if distance == 0:
                layers.append(self.record())
            else:
                for _ in range(self.varint()):
                    layers.append(layers[-distance])
        return grid, layers


def walk(record, path):
    yield path, record
    for key, name in ((31, "parallel_branches"), (33, "sequential_layers"), (38, "meta_observed_layer"), (72, "filter_gate")):
        for i, child in enumerate(record[key] if key in (31, 33) and key in record else [record[key]] if key in record else []):
            yield from walk(child, f"{path}.{name}.{i}" if key in (31, 33) else f"{path}.{name}")


def roles(r):
    """The roles of a record's kind, with their shapes."""
    if 80 in r:
        return configured(r["kind"], json.loads(r[80]))
    g = lambda key: r.get(key, 0)
    i, o, kind = g(1), g(4), r["kind"]
    if kind == 0:
        return [("weight", (o, i)), ("bias", (o,))]
    if kind == 1:
        d = g(17)
        q, k, e = g(16) or d, g(14) * g(15) or d, g(15)
        shapes = [(q, d), (k, d), (k, d), (d, q), (q,), (k,), (k,), (d,), (e,), (e,)]
        return list(zip(ROLES[4:14], shapes))
    if kind == 2:
        return list(zip(ROLES[14:20], [(o, i), (o, i), (i, o), (o,), (o,), (i,)]))
    if kind in (3, 9):
        return [("gamma", (i,)), ("beta", (i,))][:1 if kind == 3 else 2]
    if kind in (7, 8):
        rows = o * (4 if kind == 8 else 1)
        return [("input_weight", (rows, i)), ("recurrent_weight", (rows, o)), ("bias", (rows,))]
    if kind in (4, 5, 6, 10, 11, 12):
        axes = kind - 3 if kind < 7 else kind - 9
        return [("weight", (g(8), g(7)) + (g(9) or 1,) * axes), ("bias", (g(8),))]
    return {13: [("weight", (g(20), g(21)))], 14: [("centers", (g(22), i))]}.get(kind, [])


def configured(kind, c):
    """The same of a layer that is said in JSON."""
    shape = tuple(n for n in c.get("shape", ()) if n != 1) or (1,)
    if kind in (4, 5, 6, 10, 11, 12):
        axes, k = len(c["input"]), c["kernel_size"]
        kernel = (k,) * axes if isinstance(k, int) else tuple(k)
        found = [("weight", (c["filters"], c["in_channels"] // c.get("groups", 1)) + kernel, True), ("bias", (c["filters"],), c["bias"])]
    elif kind == 0:
        found = [("weight", (c["output_dim"], c["input_dim"]), True), ("bias", (c["output_dim"],), c["bias"])]
    elif kind == 22:
        found = [("gamma", shape, c["gain"]), ("beta", shape, c["shift"])]
    elif kind == 23:
        found = [("gamma", shape, c["gamma"]), ("beta", shape, c["beta"]), ("mean", shape, True), ("variance", shape, True)]
    elif kind in (7, 31):
        h, rows = c["hidden_size"], c["hidden_size"] * (3 if kind == 31 else 1)
        found = [("input_weight", (rows, c["input_size"]), True), ("recurrent_weight", (rows, h), True), ("bias", (rows,), c["bias"]),
                 ("recurrent_bias", (h,), c["bias"] and c.get("reset") == "after_product")]
    elif kind == 24:
        found = [("gamma", (c["channels"],), c["gamma"]), ("beta", (c["channels"],), c["beta"])]
    else:
        found = {3: lambda: [("gamma", (c["dim"],), True)], 21: lambda: [("slope", shape, True)],
                 13: lambda: [("weight", (c["vocab_size"], c["embedding_dim"]), True)],
                 14: lambda: [("centers", (c["num_clusters"], c["input_dim"]), True)]}.get(kind, list)()
    return [(role, extents) for role, extents, there in found if there]


def minifloat(code, exponent, mantissa, loom):
    sign, code = code >> exponent + mantissa, code & (1 << exponent + mantissa) - 1
    e, m, bias = code >> mantissa, code & (1 << mantissa) - 1, (1 << exponent - 1) - 1
    value = math.ldexp(1 + m / 2**mantissa, e - bias) if e else math.ldexp(m / 2**mantissa, 1 - bias)
    if loom and e == 0 and m:
        value = math.ldexp(1 + m / 2**mantissa, -bias - 3) if exponent == 4 else math.ldexp(1 + m / 4, -15)
    if exponent == 2 and loom:
        value = [0, 0.75, 1, 1.5, 2, 3, math.inf, math.nan][code]
    if exponent == 5 and e == 31:
        value = math.nan if m else math.inf
    if exponent == 4 and code == 127:
        value = 480.0 if loom else math.nan
    return -value if sign else value


def decode(data, n, dtype, loom, scale, zero):
    bits = BITS[dtype]
    if bits >= 8:
        codes = np.frombuffer(data, f"<u{bits // 8}", n)
    else:
        codes = np.unpackbits(np.frombuffer(data, np.uint8))[:n * bits].reshape(n, bits) @ (1 << np.arange(bits)[::-1])
    if dtype in ("float64", "float32", "float16"):
        return codes.view(f"<f{bits // 8}").astype(np.float64)
    if dtype == "bfloat16":
        return (codes.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if dtype in ("fp8e4m3", "fp8e5m2", "fp4"):
        form = {"fp8e4m3": (4, 3), "fp8e5m2": (5, 2), "fp4": (2, 1)}[dtype]
        return np.array([minifloat(code, *form, loom) for code in range(1 << bits)])[codes] * np.float64(scale)
    if dtype == "binary":
        return (codes * 2.0 - 1) * scale
    values = codes.astype(object) if bits == 64 else codes.astype(np.int64)
    if not dtype.startswith("uint"):
        values = values - (values >> bits - 1) * (1 << bits)
    return np.array(values - zero, np.float64) * scale


def expand(data, length):
    import zstandard

    if not zstandard.get_frame_parameters(data).has_checksum:
        raise ValueError("a frame has no checksum of its content")
    return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompress(data, max_output_size=length)


def finite(values, dtype, loom, scale, where):
    """`values`, unless one of them is no finite weight of its dtype."""
    wide = dtype == "float64" or not loom and dtype in ("int64", "int32", "uint64", "uint32")
    with np.errstate(over="ignore"):
        if not np.isfinite(values if wide else values.astype(np.float32)).all():
            raise ValueError(f"{where}: a weight is not finite")
    if dtype == "ternary" and (np.abs(values) > abs(scale)).any():
        raise ValueError(f"{where}: a code is no ternary weight")
    return values


def read(path):
    """The grid, the layers, and a dictionary of arrays by path and role."""
    data = open(path, "rb").read()
    magic, version, flags, _, tlen, traw, ilen, iraw, meta, size = struct.unpack_from("<8sHHI6Q", data)
    if magic != b"ENTITY\0\0" or version != 2 or flags & ~3 or size != len(data) or meta + tlen + ilen != size:
        raise ValueError(f"{path}: not an .entity of version 2")
    if hashlib.sha256(data[:64] + data[meta:]).digest() != data[64:96]:
        raise ValueError(f"{path}: header, topology or index have changed")
    tables = data[meta:meta + tlen], data[meta + tlen:]
    topology, index = (expand(t, n) if flags & bit else t for t, n, bit in zip(tables, (traw, iraw), (1, 2)))
    grid, layers = Reader(topology).topology()
    nodes = [node for i, layer in enumerate(layers) for node in walk(layer, f"layers.{i}")]
    n, arrays, node, end = len(index) // 28, {}, 0, 96
    column = lambda first, form: np.frombuffer(index, form, n, first * n)
    columns = [column(*c) for c in ((0, "<u4"), (4, "u1"), (5, "u1"), (6, "u1"), (7, "u1"), (8, "<f4"), (12, "<u8"), (20, "<u8"))]
    for step, part, count, dtype, coding, scale, length, digest in zip(*(c.tolist() for c in columns)):
        node, start, end = node + step, end, end + length
        section = data[start:end]
        try:
            import xxhash

            if xxhash.xxh3_64_intdigest(section) != digest:
                raise ValueError(f"{path}: section at byte {start} has changed")
        except ImportError:
            pass
        if part >= 64:
            where = nodes[node][0] if node < len(nodes) else "transformer"
            content = expand(section, 256 * length) if coding & 2 else section
            if part < 250:
                start = -start % 64 if not coding & 2 else 0
                blocks = int.from_bytes(content[start:start + 4], "little")
                # Codes reach from -8 to 7.
                finite(8.0 * np.frombuffer(content, "<f4", blocks, start + 8), "float32", True, 1.0, f"{where} {part}")
            else:
                content = content[len(content) % 4:]
                finite(np.frombuffer(content, "<f4"), "float32", True, 1.0, f"{where} {part}")
            arrays[where, part] = section
            continue
        where, record = nodes[node]
        order = roles(record)
        first = [name for name, _ in order].index(ROLES[part])
        loom, bits = not coding & 1, BITS[DTYPES[dtype]]
        zero = 1 << bits - 1 if DTYPES[dtype].startswith("uint") and not loom else 0
        shapes = [(name, (record.get(16) or record[17],) if name == "q_norm" and coding & 8 else
                   (record[14] * record[15] or record[17],) if name == "k_norm" and coding & 8 else shape)
                  for name, shape in order[first:first + count]]
        lengths = [-(-math.prod(shape) * bits // 8) for _, shape in shapes]
        align = lambda length: 64 if length >= 64 else 1 << max(length - 1, 0).bit_length()
        prefix = 8 if coding & 4 else 0
        at = 0 if coding & 2 else -start % max(map(align, lengths + [prefix]))
        if coding & 2:
            section = expand(section, 256 * length)
        base = at
        if prefix:
            zero, at = struct.unpack_from("<Q", section, at)[0], at + 8
        for (name, shape), length in zip(shapes, lengths):
            at = base + -(-(at - base) // align(length)) * align(length)
            values = decode(section[at:at + length], math.prod(shape), DTYPES[dtype], loom, scale, zero)
            arrays[where, name] = finite(values, DTYPES[dtype], loom, scale, f"{where} {name}").reshape(shape)
            at += length
    return grid, layers, arrays


if __name__ == "__main__":
    for (where, name), array in read(sys.argv[1])[2].items():
        shown = f"{array.shape} {np.asarray(array).ravel()[:4]}" if hasattr(array, "shape") else f"{len(array)} bytes"
        print(where, name, shown)
