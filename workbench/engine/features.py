"""The vectors of pictures: computed once for each picture, and put in the place of its tokens in any number of steps."""

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
"""Memory of the vectors that were used last."""


class Features:
    """The vectors of the pictures that a model saw last, by digest."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._num_bytes = 0
        self._model: Model | None = None
        self.num_seen = 0
        """Pictures computed since the start."""

    def of(self, model: Model, picture: Picture, device: torch.device) -> Tensor:
        """Returns the vectors [num_tokens, H]. Changes: those used last are kept, of this model and within the bound."""
        if model is not self._model:
            self._kept.clear()
            self._num_bytes, self._model = 0, model
        found = self._kept.get(picture.digest)
        if found is not None:
            self._kept.move_to_end(picture.digest)
            return found
        made = model.see(**{name: tensor_of(array).to(device) for name, array in picture.arrays.items()})
        if made.shape[0] != picture.num_tokens:
            raise ValueError(f"the model made {made.shape[0]} vectors of a picture of {picture.num_tokens} tokens")
        self.num_seen += 1
        self._kept[picture.digest] = made
        self._num_bytes += made.nbytes
        while self._num_bytes > KEPT_BYTES and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            self._num_bytes -= gone.nbytes
        return made


def tensor_of(array: Array) -> Tensor:
    """Returns the numbers as a tensor of their own type and shape."""
    values = np.frombuffer(bytearray(array.data), dtype=array.dtype).reshape(array.shape)
    return torch.from_numpy(values)
