"""Loads and saves checkpoints with the original runtime, for `bedrock bench io`.

Reads `WHAT PATH` a line on standard input, WHAT one of entity_load, entity_save, json_load and
json_save, and answers with the seconds that it took, or null where welvet is not installed. A save
is of the network that was loaded last; the original hands its file over as Base64, so that
decoding it and writing the file count as well.
"""

import base64
import ctypes
import json
import sys
import time

try:
    import welvet
    from welvet import utils
except ImportError:
    welvet = None


class Loom:
    """The C interface, which also loads by path."""

    def __init__(self):
        self.handle = -1
        self.load_path = utils._sym("LoomLoadEntity")
        self.load_path.restype = ctypes.c_longlong
        self.load_path.argtypes = [ctypes.c_char_p]

    def keep(self, handle):
        if handle < 0:
            raise RuntimeError("welvet refused the file")
        if self.handle >= 0:
            utils._LoomFreeNetwork(self.handle)
        self.handle = handle

    def entity_load(self, path):
        self.keep(self.load_path(path.encode()))

    def entity_save(self, path):
        data = json.loads(utils._LoomSerializeEntity(self.handle))["b64"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def json_load(self, path):
        with open(path, "rb") as file:
            text = file.read()
        self.keep(utils._LoomDeserializeNetwork(text, len(text)))

    def json_save(self, path):
        text = utils._LoomSerializeNetwork(self.handle)
        with open(path, "wb") as file:
            file.write(text)


def main():
    loom = Loom() if welvet else None
    print(json.dumps({"loom": getattr(welvet, "__version__", "?")} if welvet else {}), flush=True)
    for line in sys.stdin:
        what, path = line.rstrip("\n").split(" ", 1)
        if loom is None:
            print("null", flush=True)
            continue
        start = time.perf_counter()
        getattr(loom, what)(path)
        print(json.dumps(time.perf_counter() - start), flush=True)


main()
