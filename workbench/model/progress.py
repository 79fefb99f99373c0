"""Progress as a bar per piece of work, where `tqdm` is installed; silent elsewhere."""

from __future__ import annotations

import warnings
from typing import Any


class Bars:
    """A `Progress`: one bar for each thing that is done, closed when it is complete or the next begins."""

    def __init__(self) -> None:
        self._what = ""
        self._bar: Any = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.close()
            self._what, self._bar = what, _new_bar(what, total)
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)
            if done >= total:
                self._bar.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _new_bar(what: str, total: int) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "IProgress not found": a text bar does as well
            from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(desc=what, total=total, unit="B", unit_scale=True, mininterval=0.5)
