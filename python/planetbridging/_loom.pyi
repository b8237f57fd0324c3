"""The Loom runtime: networks of checkpoints, NumPy in and out. The interpreter is released meanwhile."""

from pathlib import Path
from typing import Any, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

__version__: str

def dtypes() -> list[str]:
    """The names of the 21 dtypes."""

class Network:
    """A network with its weights. It never changes; `morph` makes another."""

    @staticmethod
    def load(path: str | Path) -> Network:
        """Reads an `.entity` of either version, or a JSON checkpoint."""
    @staticmethod
    def deserialize_entity(data: bytes) -> Network:
        """Reads the bytes of such a file."""
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
        """Runs the network from a fresh start. Inputs are rounded to float32, batch first."""
    def decode(self, *inputs: ArrayLike) -> NDArray[np.float32]:
        """Runs one more position of a sequence: key/value caches go on from the call before."""
    def reset(self) -> None:
        """Forgets what `decode` has kept."""
    def morph(self, dtype: str, numerics: str = "standard") -> Network:
        """The same network with its weights stored in another dtype."""
    def save(self, path: str | Path, version: int = 2) -> None:
        """Writes an `.entity`, replaced as a whole."""
