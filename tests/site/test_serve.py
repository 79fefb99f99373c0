"""`docs/serve.sh`, behind `make docs-serve`, shows the built site and prints where."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs/serve.sh"


@pytest.mark.process
def test_the_script_prints_the_address_of_the_built_site(site, tmp_path):
    copy = tmp_path / "serve.sh"
    copy.write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "_build").mkdir()
    (tmp_path / "_build/html").symlink_to(site, target_is_directory=True)
    with subprocess.Popen(["bash", copy], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            address = re.search(r"http://127\.0\.0\.1:\d+/", server.stdout.readline())[0]
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert answer.read() == (site / "index.html").read_bytes()
        finally:
            server.terminate()


@pytest.mark.process
def test_the_script_names_the_command_that_builds_the_site(tmp_path):
    copy = tmp_path / "serve.sh"
    copy.write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(["bash", copy], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "build it first: make docs\n"
