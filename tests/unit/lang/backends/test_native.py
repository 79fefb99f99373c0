"""The base class of the engine's and the server's backend, without an engine or a server."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.lang.backends.native import DTYPE_REGEX, DTYPE_STOP


@pytest.mark.parametrize("dtype", DTYPE_REGEX)
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_a_typed_generation_writes_is_a_python_literal_of_its_type(dtype, data):
    text = data.draw(st.from_regex(DTYPE_REGEX[dtype], fullmatch=True))
    ends = [at for stop in DTYPE_STOP.get(dtype, ()) if (at := text.find(stop)) >= 0]
    assert type(ast.literal_eval(text[: min(ends, default=len(text))])) is dtype
