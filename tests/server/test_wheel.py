"""The wheel, installed into an environment of its own that sees the dependencies, works without the repository."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from workbench.model.tiny import write_config
from workbench.utils import launch_server_cmd, terminate_process, wait_for_server

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.process, pytest.mark.heavy]


@pytest.fixture(scope="module")
def release_check():
    pytest.importorskip("hatchling", reason="extra `test` brings hatchling")
    spec = importlib.util.spec_from_file_location("release_check", ROOT / ".ci/release_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(release_check, tmp_path_factory):
    """The wheel and the sdist."""
    return release_check.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def run(built, tmp_path_factory):
    """Function that runs a program of the environment with the wheel, in an empty folder; returns what it printed."""
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    bin = folder / "venv/bin"
    subprocess.run([bin / "python", "-m", "pip", "install", "-q", "--no-deps", "--no-index", built[0]], check=True)
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (next(folder.glob("venv/lib/*/site-packages")) / "dependencies.pth").write_text("\n".join(places))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run_it(program, *words):
        done = subprocess.run(
            [bin / program, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run_it.bin = bin
    return run_it


def test_the_wheel_and_the_sdist_have_all_that_is_committed(release_check, built):
    found = [fault for fault in release_check.faults(*built) if "does not say when" not in fault and "not committed" not in fault]
    assert found == []


CELL = """
import workbench, workbench.views.live as live
from workbench.views.live.scripts import VIEWS, script
print(workbench.__file__)
print(min(len(script(VIEWS / name / "view.js")) for name in live.VIEWS) > 1000)
"""


def test_a_cell_loads_the_extension_and_the_views(run):
    out = run("python", "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", "%load_ext workbench\n%wb ps\n" + CELL)
    assert str(run.bin.parent) in out
    assert "True" in out
    assert str(ROOT) not in out


def test_the_command_serves_a_model(run, tmp_path):
    assert "--drain-timeout-s" in run("workbench", "serve", "--help")
    folder = write_config(tmp_path)
    command = f"{run.bin}/workbench serve --model-path {folder} --load-format dummy --skip-tokenizer-init --max-total-tokens 2000"
    process, port = launch_server_cmd(command)
    try:
        wait_for_server(f"http://127.0.0.1:{port}", timeout=120, process=process)
    finally:
        terminate_process(process)


def test_what_a_type_checker_and_a_licence_reader_ask_for_is_there(run):
    code = (
        "import importlib.metadata as m, json, pathlib, workbench; d = m.distribution('radix-workbench');"
        "print(json.dumps([d.version, d.metadata['License-Expression'], d.metadata.get_all('License-File'),"
        "pathlib.Path(workbench.__file__).with_name('py.typed').exists(), [e.value for e in d.entry_points]]))"
    )
    import workbench

    found = json.loads(run("python", "-c", code))
    assert found == [workbench.__version__, "Apache-2.0", ["LICENSE"], True, ["workbench.cli:main"]]
