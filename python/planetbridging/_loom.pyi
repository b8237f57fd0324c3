"""The Loom runtime: networks of checkpoints, NumPy in and out. The interpreter is released meanwhile."""

from pathlib import Path
from typing import Any, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

__version__: str

def bedrocks() -> list[str]:
    """The bedrocks of the original bridge, in the order of every table."""

def planets() -> list[str]:
    """The planets, in the order of every table."""

def dtypes() -> list[str]:
    """The names of the 21 dtypes."""

def layer(spec: str) -> tuple[str, dict[str, tuple[int, ...]], list[tuple[str, str]]]:
    """A layer as manifests have it, `{kind: configuration}` in JSON: the same with every default said, the shapes of its
    weights by role in Loom's layout, and the layers inside by the last part of their paths. Raises ValueError where the
    core refuses it."""

def stream(document: bytes) -> dict[str, Any]:
    """Serves a layer stream, one JSON document, as the program `loom-stream` does: writes the `.entity`, runs it, and
    gives the answer, whose `outputs` are an array. Raises RuntimeError where the document is refused."""

def stream_arrays(
    model: str,
    arrays: dict[str, NDArray[Any]],
    *,
    output: str,
    fixture: dict[str, NDArray[Any]] | None = None,
    entity_version: int = 1,
    dtype: str | None = None,
) -> dict[str, Any]:
    """Writes the `.entity` of a model, in JSON, whose weights are arrays by `PATH.ROLE` in the planet's own layout, and
    runs it on `fixture`; without one it runs nothing. Raises RuntimeError where that is refused."""

class Network:
    """A network with its weights, and the whole checkpoint that it comes from. It never changes; `morph` makes
    another.

    Long calls can be interrupted: KeyboardInterrupt, or what another signal's handler raises, comes within a
    fraction of a second. The work then ends by itself on a thread of its own and its result is dropped; a file that
    was being written is still written, as a whole.

    A child made by fork has the network too. Copies and pickles hold the whole checkpoint; a copy goes on from
    where `decode` is, a pickle starts afresh."""

    @staticmethod
    def load(path: str | Path) -> Network:
        """Reads an `.entity` of either version, or a JSON checkpoint: all of it, digests checked."""
    @staticmethod
    def deserialize_entity(data: bytes) -> Network:
        """Reads the bytes of such a file; `serialize_entity` is the way back."""
    def serialize_entity(self, version: int = 2) -> bytes:
        """The bytes of an `.entity`: what `save` writes."""
    def __copy__(self) -> Network: ...
    def __deepcopy__(self, memo: dict[int, Any], /) -> Network: ...
    @property
    def format(self) -> str | None:
        """The format it was read from: v1, v2, v2-zstd or json; None of a network that was made."""
    @property
    def topology(self) -> dict[str, Any]:
        """Grid extents and the configuration of every layer."""
    @property
    def dtypes(self) -> dict[str, str]:
        """The dtype of each array, by `path.role`."""
    @property
    def weight_bytes(self) -> int:
        """The bytes of all packed weights."""
    def weights(self) -> dict[str, NDArray[np.float32]]:
        """The weights by `path.role`, decoded."""
    def forward(
        self,
        *inputs: ArrayLike,
        reads: Mapping[int, int] | None = None,
        skips: Mapping[int, int] | None = None,
        mixer: bool = False,
    ) -> NDArray[np.float32]:
        """Runs the network from a fresh start. Inputs are rounded to float32, batch first; what float32 cannot hold,
        masked, complex and other arrays that are not real numbers, and more inputs than the network reads are refused.

        `reads` and `skips` say which layers read or add an input of the network, as manifests do; `mixer` runs a flat
        mixer as the original bridge does.

        The file of a model says what its layers read, not how tensors were reshaped between them: the leading axes
        of the result may be others than the model's own."""
    def decode(self, *inputs: ArrayLike) -> NDArray[np.float32]:
        """Runs one more position of a sequence: key/value caches go on from the call before. One call at a time; after
        one that was interrupted they are lost, and `decode` says so until `reset`."""
    def reset(self) -> None:
        """Forgets what `decode` has kept."""
    def morph(self, dtype: str, numerics: str = "standard") -> Network:
        """The same network with its weights stored in another dtype. The tables of a transformer stay."""
    def save(self, path: str | Path, version: int = 2) -> None:
        """Writes an `.entity`, replaced as a whole, with all that the network was read with: the tables and sizes of
        a transformer, and weights as they were packed. Version 1 is refused where it has no field for something."""
