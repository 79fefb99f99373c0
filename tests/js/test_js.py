"""The layout halves of the ES modules, in Node: each `<name>.test.mjs` gets the module as the widget sends it, as `view.mjs`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("anywidget", reason="the modules are joined by the widgets, which need anywidget")

from workbench.views.live.opening import VIEWS, widgets_module

HERE = Path(__file__).parent


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
@pytest.mark.parametrize("path", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.name)
def test_layout(path, tmp_path):
    name = path.name.removesuffix(".test.mjs")
    (tmp_path / "view.mjs").write_text(str(getattr(widgets_module(name), VIEWS[name].widget)._esm), "utf-8")
    shutil.copy(path, tmp_path)
    done = subprocess.run(["node", "--test", path.name], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
