"""Helpers that programs written for the reference import from `test.test_utils`; the module holds no tests."""

from __future__ import annotations

from workbench.utils import is_in_ci as is_in_ci

__test__ = False
