"""Cross attention: rows of a step attend to the keys and values of pictures, which no token of the text has."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from workbench.attention.merge import attend, merge_rows
from workbench.attention.spec import AttentionSpec


@dataclass(frozen=True, slots=True)
class Crossed:
    """The rows of a step that see pictures. P is the number of a picture's rows, C that of layers of cross attention."""

    rows: Tensor  # [n] int64, their places in the flat batch
    parts: tuple[tuple[slice, tuple[Tensor, ...]], ...]
    """Parts of `rows`, each with the keys and values [C, 2, P, Hkv, D] of the pictures that it sees, at least one."""

    def attend(self, spec: AttentionSpec, q: Tensor) -> Tensor:
        """Returns attention [n, Hq, D] of q [n, Hq, D], the queries of `rows`; each row sees all of its pictures.

        The spec's layer is the layer's number among those of cross attention.
        """
        out = q.new_empty(*q.shape[:2], spec.v_head_size)
        for rows, pictures in self.parts:
            queries = q[rows]
            base, *others = (attend(queries, picture[spec.layer, 0], picture[spec.layer, 1], spec) for picture in pictures)
            for other in others:
                merge_rows(base, slice(0, len(queries)), other)
            out[rows] = base.out
        return out
