"""The vectors of pictures: computed once for each picture, and used in any number of steps.

They stand in the places of its tokens, or are the keys and values that layers of cross attention have of it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workbench.types import Array, Picture

if TYPE_CHECKING:
    from workbench.model.base import Model

KEPT_BYTES = 256 << 20
"""Memory of the vectors that were used last, where nothing else is stated."""


class Features:
    """The vectors of the pictures that a model saw last, by digest."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        """Keeps vectors of up to `most_bytes`, and always those used last."""
        self.most_bytes = most_bytes
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self.num_bytes = 0
        """Memory of the vectors that are kept."""
        self._model: Model | None = None
        self.held: frozenset[str] = frozenset()
        """Digests of the pictures whose vectors stay, whatever room they take."""
        self.num_seen = 0
        """Pictures computed since the start."""

    def of(self, model: Model, picture: Picture, device: torch.device) -> Tensor:
        """Returns the vectors [num_tokens, H], or keys and values [C, 2, P, Hkv, D] of a picture that is looked at by cross
        attention. Changes: those used last are kept, of this model and within the bound."""
        if model is not self._model:
            self._kept.clear()
            self.num_bytes, self._model = 0, model
        found = self._kept.get(picture.digest)
        if found is not None:
            self._kept.move_to_end(picture.digest)
            return found
        made = model.see(**{name: tensor_of(array).to(device) for name, array in picture.arrays.items()})
        wanted, found_rows = (picture.num_crossed, made.shape[2]) if picture.is_crossed else (picture.num_tokens, made.shape[0])
        if found_rows != wanted:
            raise ValueError(f"the model made {found_rows} rows of a picture of {wanted}")
        self.num_seen += 1
        self._kept[picture.digest] = made
        self.num_bytes += made.nbytes
        for digest in [digest for digest in self._kept if digest not in self.held and digest != picture.digest]:
            if self.num_bytes <= self.most_bytes:
                break
            self.num_bytes -= self._kept.pop(digest).nbytes
        return made


def tensor_of(array: Array) -> Tensor:
    """Returns the numbers as a tensor of their own type and shape."""
    values = np.frombuffer(bytearray(array.data), dtype=array.dtype).reshape(array.shape)
    return torch.from_numpy(values)
