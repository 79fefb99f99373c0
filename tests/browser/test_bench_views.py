"""`workbench bench views` on this tree: each row that needs a browser runs and prints its figures."""

from __future__ import annotations

import pytest

from workbench.bench.views import ROWS
from workbench.config import ServerArgs

pytestmark = [pytest.mark.browser, pytest.mark.model]


@pytest.mark.parametrize(
    "row, says",
    [("tree", "frame with one node more"), ("browser", "all views open and drawn")],
)
def test_the_cost_of_the_views_is_measured(row: str, says: str) -> None:
    told = ROWS[row](ServerArgs(dtype="bfloat16", max_total_tokens=16384), 1)
    assert says in told
    assert "nan" not in told
    if row != "tree":
        (rates,) = (line for line in told.splitlines() if line.startswith("| states told per second"))
        assert "tree 0.0," not in rates, "a view that was open was told nothing"
