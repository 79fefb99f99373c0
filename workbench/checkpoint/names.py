"""The names that a file format has for the tensors of a family, and the order in which it stores some of them. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


@dataclass(frozen=True)
class Change:
    """The difference between a tensor in a file and the tensor that a layer means, in both directions.

    That of a matrix is in the order of its rows alone, where nothing else is said: of a quantised one the order is asked for.
    """

    undo: Callable[[Tensor], Tensor]
    """Function from what the file holds to what the layer means."""
    do: Callable[[Tensor], Tensor]
    """Its inverse, for writing a file."""
    of_rows: bool = True
    """False: it moves single numbers, so blocks become dense first."""


@dataclass(frozen=True)
class Cut:
    """The place of our tensor among the rows of a larger one: rows start to start + count of every `period` rows.

    So a file stores queries, keys and values one after the other (one period is the whole), or for each group of heads in turn.
    """

    name: str
    """The file's pattern."""
    total: int
    """Rows of the whole."""
    start: int
    count: int
    period: int | None = None
    """None is the whole."""
    is_transposed: bool = False
    """True: the file has matrices as [in, out], and its columns are our rows."""

    def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape in the file of what holds our tensor of `shape`."""
        return (shape[1], self.total) if self.is_transposed and len(shape) > 1 else (self.total, *shape[1:])

    @property
    def run(self) -> slice | None:
        """The rows as one run, where they lie so."""
        is_run = not self.is_transposed and (self.period or self.total) == self.total
        return slice(self.start, self.start + self.count) if is_run else None

    def of(self, whole: Tensor) -> Tensor:
        """Returns our rows, out of the whole as it is in the file."""
        rows = whole.T if self.is_transposed and whole.dim() > 1 else whole
        return rows.unflatten(0, (-1, self.period or self.total))[:, self.start : self.start + self.count].flatten(0, 1)


def one_after_the_other(stored: str, parts: Mapping[str, int]) -> dict[str, Cut]:
    """Returns the cuts of a tensor that holds `parts`, our pattern and its number of rows, one after the other."""
    cuts: dict[str, Cut] = {}
    for part, count in parts.items():
        cuts[part] = Cut(stored, sum(parts.values()), sum(cut.count for cut in cuts.values()), count)
    return cuts


def group_by_group(stored: str, num_heads: int, num_groups: int, size: int) -> dict[str, Cut]:
    """Returns the cuts of a tensor that holds, for each group of heads of `size`, its queries, then its key, then its value."""
    shared = num_heads // num_groups * size  # rows of a group's queries
    period, total = shared + 2 * size, (shared + 2 * size) * num_groups
    parts = {"q": (0, shared), "k": (shared, size), "v": (shared + size, size)}
    return {f"layers.*.self_attn.{part}_proj": Cut(stored, total, start, count, period) for part, (start, count) in parts.items()}


@dataclass(frozen=True)
class Names:
    """Pairs our names with those of a file. A pattern is a name without its last part, with `*` in the place of each number."""

    table: Mapping[str, str] = field(default_factory=dict)
    """Our pattern -> the file's: "layers.*.mlp.up_proj" -> "blk.*.ffn_up". A name that is not listed is the file's own. A name
    may be listed with its last part too, where the file has another one."""
    prefixes: tuple[str, ...] = ("",)
    """Words before the file's names; the first that fits counts."""
    leftovers: str = r"(?!)"
    """Names, as a regular expression, of tensors in files that no layer needs."""
    changes: Mapping[str, Change] = field(default_factory=dict)
    """Our pattern -> what is done to the tensor in a file; most have none."""
    cuts: Mapping[str, Cut] = field(default_factory=dict)
    """Our pattern -> the tensor that holds it together with others. A change is done to what was cut out."""

    def find(self, name: str, tensors: Container[str]) -> str | None:
        """Returns the file's name of our tensor `name`, or None where the file has no such tensor."""
        candidates = dict.fromkeys((self.renamed(name), name))  # transformers 5 writes some models under names of its own
        return next((full for one in candidates for prefix in self.prefixes if (full := prefix + one) in tensors), None)

    def renamed(self, name: str) -> str:
        """Returns the file's name, without a prefix, of our tensor `name`."""
        stem, _, leaf = name.rpartition(".")
        cut, whole = self.cut_of(name), self.table.get(NUMBER.sub("*", name))
        pattern = self.table.get(NUMBER.sub("*", stem)) if cut is None else cut.name
        if whole is None and pattern is None:
            return name
        numbers = iter(NUMBER.findall(stem))
        return re.sub(r"[*]", lambda _: next(numbers), whole or f"{pattern}.{leaf}")

    def change_of(self, name: str) -> Change | None:
        return self.changes.get(NUMBER.sub("*", name.rpartition(".")[0]))

    def cut_of(self, name: str) -> Cut | None:
        return self.cuts.get(NUMBER.sub("*", name.rpartition(".")[0]))

    def is_leftover(self, stored: str) -> bool:
        return re.search(self.leftovers, stored) is not None
