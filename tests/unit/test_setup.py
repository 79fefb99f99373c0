"""`.ci/setup.py`: the packages that it installs, pip's options passed on to uv, and no long silence."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "setup.py"


@pytest.fixture
def setup():
    spec = importlib.util.spec_from_file_location("ci_setup", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(lines: list[str]) -> set[str]:
    return {Requirement(line).name for line in lines}


def test_a_newcomer_gets_what_the_engine_and_a_notebook_need_and_no_tools(setup):
    whole, alone = setup.requirements(["engine", "notebook"])
    assert {"torch", "transformers", "jupyterlab", "anywidget", "msgspec"} <= names(whole)
    assert names(whole).isdisjoint({"pytest", "ruff", "openai", "xgrammar", "triton", "fastapi"})
    assert names(alone) == {"xgrammar"}
    more, _ = setup.requirements(["engine", "notebook", "test"])
    assert names(whole) | {"pytest", "openai", "anthropic", "google-genai"} <= names(more)


def test_what_xgrammar_needs_is_installed_except_triton(setup):
    lines = [Requirement(line) for line in importlib.metadata.requires("xgrammar")]
    needed = {one.name for one in lines if one.marker is None or one.marker.evaluate({"extra": ""})} - {"triton"}
    whole, _ = setup.requirements(["engine"])
    brought_by_torch = {"typing-extensions"}
    assert needed <= names(whole) | brought_by_torch


@pytest.mark.process
def test_constraints_are_enforced_without_triton_and_without_a_warning():
    code = """
import sys
sys.modules["triton"] = None
import torch, xgrammar
from workbench import Grammar
mask = xgrammar.allocate_token_bitmask(1, 64)
logits = torch.zeros(1, 64)
xgrammar.apply_token_bitmask_inplace(logits, mask.zero_())
print(logits.max().item(), "triton" in [name for name, module in sys.modules.items() if module])
"""
    done = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["-inf", "False"], "")


def test_jupyterlab_asks_nothing_on_the_first_page(setup, monkeypatch, tmp_path):
    import jupyterlab

    monkeypatch.setattr(setup, "VENV", tmp_path)
    setup.settle(["engine"])
    assert not (tmp_path / "share").exists()
    setup.settle(["engine", "notebook"])
    ((plugin, settings),) = json.loads((tmp_path / "share/jupyter/lab/settings/overrides.json").read_text()).items()
    schema = Path(jupyterlab.__file__).parent / "schemas" / f"{plugin.replace(':', '/')}.json"
    known = json.loads(schema.read_text())["properties"]["fetchNews"]
    assert {"const": settings["fetchNews"], "title": "Never"} in known["oneOf"]


@pytest.mark.process
def test_uv_is_told_what_pip_was_told(setup, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels /more")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://one.example/simple https://two.example/simple")
    monkeypatch.setattr(setup, "PYTHON", sys.executable)
    told = setup.uv_settings(setup.pip_settings())
    assert told["UV_FIND_LINKS"] == "/wheels,/more"
    assert told["UV_INDEX"] == "https://one.example/simple https://two.example/simple"
    assert told["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert [name for name, _, _ in setup.installers("uv")] == ["uv", "pip"]


def test_where_pip_was_told_nothing_uv_chooses_the_torch_of_this_machine_and_pip_is_the_last_resort(setup, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(setup, "pip_settings", dict)
    monkeypatch.setattr(sys, "platform", "linux")
    (_, command, env), second, third = setup.installers("uv")
    assert env["UV_TORCH_BACKEND"] == "auto"
    assert command[:3] == ["uv", "pip", "install"]
    assert "UV_TORCH_BACKEND" not in second[2]
    assert third[1][1:4] == ["-m", "pip", "install"]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert [name for name, _, _ in setup.installers("uv")] == ["uv", "pip"]
    assert [name for name, _, _ in setup.installers(None)] == ["pip"]


def test_the_next_way_is_tried_and_the_last_one_says_why_it_failed(setup, monkeypatch, capsys):
    ran = []

    def call(what, command, env=None):
        ran.append(command)
        if command[0] == "broken":
            raise setup.Failed("no route to host")

    monkeypatch.setattr(setup, "call", call)
    monkeypatch.setattr(setup, "installers", lambda uv: [("a", ["broken"], {}), ("b", ["works"], {})])
    setup.install_packages(["engine"], "uv")
    assert [command[0] for command in ran] == ["broken", "works", "works"]
    assert ran[-1][-3:-1] == ["xgrammar>=0.2.8,<0.3", "-e"]
    assert "a could not; now b" in capsys.readouterr().out
    monkeypatch.setattr(setup, "installers", lambda uv: [("a", ["broken"], {})])
    with pytest.raises(setup.Failed, match="no route to host"):
        setup.install_packages(["engine"], "uv")


@pytest.mark.process
def test_a_silent_command_is_heard_of_with_the_newest_that_it_said(setup, monkeypatch, capsys):
    monkeypatch.setattr(setup, "SILENCE_S", 0.05)
    setup.call("working", [sys.executable, "-c", "import time; print('first', flush=True); time.sleep(1)"])
    first, *beats = capsys.readouterr().out.splitlines()
    assert first == "working ..."
    assert len(beats) >= 2
    assert re.fullmatch(r" +\d+ s  first", beats[-1])


@pytest.mark.process
def test_a_command_that_fails_is_named_with_what_it_said(setup):
    with pytest.raises(setup.Failed, match=r"(?s)no good.*ended with status 3"):
        setup.call("working", [sys.executable, "-c", "print('no good'); raise SystemExit(3)"])


@pytest.mark.process
def test_what_is_installed_already_is_not_touched_and_the_command_runs_in_the_environment(setup, monkeypatch, tmp_path):
    monkeypatch.setattr(setup, "STAMP", tmp_path / "stamp")
    assert not setup.is_installed(["engine"])
    setup.STAMP.write_text(json.dumps({"of": setup.fingerprint(), "extras": ["engine", "notebook", "test"]}))
    assert setup.is_installed(["engine", "notebook"])
    assert not setup.is_installed(["engine", "docs"])
    code = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("ci_setup", {str(SCRIPT)!r})
setup = importlib.util.module_from_spec(spec)
spec.loader.exec_module(setup)
setup.is_installed = lambda extras: True
setup.main(["engine", "--", sys.executable, "-c", "import os; print(os.environ['PATH'].split(os.pathsep)[0])"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(setup.BIN)


def test_a_new_setup_begins_the_imports_of_an_engine_and_an_old_one_does_not(setup, monkeypatch):
    done, is_installed = [], False
    monkeypatch.setattr(setup, "is_installed", lambda extras: is_installed)
    monkeypatch.setattr(setup, "install", lambda *_: done.append("installed"))
    monkeypatch.setattr(setup.subprocess, "Popen", lambda command, env, **_: done.append((*command, env)))
    assert setup.main(["engine"]) == 0
    installed, (python, _, code, env) = done
    assert (installed, python, env["PYTHONDONTWRITEBYTECODE"]) == ("installed", setup.PYTHON, "")
    assert importlib.util.find_spec(code.rpartition("import ")[2])

    is_installed = True
    assert setup.main(["engine"]) == 0
    assert len(done) == 2


def test_an_older_python_is_told_so_before_anything_is_made(setup, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(setup, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(setup, "call", lambda *_: pytest.fail("nothing may be run"))
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    assert setup.main(["engine"]) == 1
    assert "needs Python 3.11 or later" in capsys.readouterr().err
