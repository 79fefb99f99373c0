"""One interval for all threads: short beside an engine, long for work that must not be divided, and at the end the usual one."""

from __future__ import annotations

import sys

import pytest

from workbench.switch_interval import QUICK_S, UNDIVIDED_S, switching


def test_the_longest_interval_of_those_inside_is_in_force_and_the_usual_one_comes_back():
    usual = sys.getswitchinterval()
    seen = []
    with switching(QUICK_S):
        seen.append(sys.getswitchinterval())
        with switching(UNDIVIDED_S), switching(QUICK_S):
            seen.append(sys.getswitchinterval())
        seen.append(sys.getswitchinterval())
    assert seen == pytest.approx([QUICK_S, UNDIVIDED_S, QUICK_S])
    assert sys.getswitchinterval() == usual


def test_an_error_inside_changes_nothing():
    usual = sys.getswitchinterval()
    with pytest.raises(ZeroDivisionError), switching(QUICK_S):
        1 / 0
    assert sys.getswitchinterval() == usual
