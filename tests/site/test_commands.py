"""The commands of the how-to pages run, in order, except those that are listed here with the reason why they do not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from byte_model import write_byte_model

from workbench.model.tiny import write_config
from workbench.utils import launch_server_cmd, terminate_process, wait_for_server

FOLDER = Path(__file__).parents[2] / "docs/how-to"
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
OURS = re.compile(r"(?:[A-Z_]+=\S+ )*(?:workbench|python -m workbench\.\w+|curl) ")
NOT_RUN = {
    "make ": "CI runs these targets",
    "pip ": "downloads packages",
    "python -m venv ": "downloads packages",
    "conda ": "needs conda; a test compares environment.yml with pyproject.toml",
    "python -c ": "needs a GPU",
    "workbench serve org/name": "needs the hub; tests/unit/hub has a stand-in for it",
    "workbench models fetch": "downloads a model",
    "WORKBENCH_HOME=class/home workbench models fetch": "downloads a model",
    "export ": "belongs to `jupyter lab`",
    "jupyter lab": "does not end; tests/browser opens it",
}
"""Beginnings of commands that do not run here, and why. The page of the guides lists their kinds."""


def commands(page: Path) -> list[str]:
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    lines = (line.split("  #")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines())
    return [line for line in lines if line]


def is_run(command: str) -> bool:
    return OURS.match(f"{command} ") is not None and not command.startswith(tuple(NOT_RUN))


PAGES = sorted(page.stem for page in FOLDER.glob("*.md") if any(map(is_run, commands(page))))


def test_every_command_of_a_page_runs_here_or_has_a_reason():
    all_commands = [command for page in FOLDER.glob("*.md") for command in commands(page)]
    assert [command for command in all_commands if not is_run(command) and not command.startswith(tuple(NOT_RUN))] == []
    assert [begin for begin in NOT_RUN if not any(command.startswith(begin) for command in all_commands)] == []


@pytest.fixture(scope="module")
def room(smollm2, tmp_path_factory):
    """A folder with what the pages name: `folder`, `model.gguf`."""
    transformers = pytest.importorskip("transformers")
    room = tmp_path_factory.mktemp("room")
    folder = room / "folder"
    folder.mkdir()
    write_byte_model(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"] |= {"vocab": tokenizer["model"]["vocab"] | {"ab": 256}, "merges": [["a", "b"]]}  # a GGUF has some
    tokenizer["added_tokens"][0]["id"] = 257
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    write_config(folder, vocab_size=258, max_position_embeddings=512, eos_token_id=257)
    config = transformers.AutoConfig.from_pretrained(folder)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    (room / "model.gguf").symlink_to(smollm2)
    return room


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_run(name, room, monkeypatch):
    monkeypatch.chdir(room)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for key, value in {"PATH": path, "KEY": "k", "ADMIN_KEY": "a", "MINE": "m"}.items():
        monkeypatch.setenv(key, value)
    todo = [command for command in commands(FOLDER / f"{name}.md") if is_run(command)]
    if not any(" serve " in command for command in todo[:1]) and any("30000" in command for command in todo):
        todo.insert(0, "workbench serve smollm2-135m --port 30000")
    with ExitStack() as servers:
        port = 30000
        for command in todo:
            if " serve " in f"{command} " and "--help" not in command:
                servers.close()  # of those that a page starts the last one runs
                process, port = start(command, monkeypatch)
                servers.callback(terminate_process, process)
                wait_for_server(f"http://127.0.0.1:{port}", timeout=120, process=process)
                continue
            command = re.sub(r"(?<=127\.0\.0\.1:)30000|(?<=--port )30000", str(port), command)
            command = command.replace("curl ", "curl --fail-with-body -sS ", 1)
            done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True, timeout=280, check=False)
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def start(command, monkeypatch):
    """Starts a server of a page on a free port."""
    while found := re.match(r"([A-Z_]+)=(\S+) ", command):
        monkeypatch.setenv(found[1], found[2])
        command = command[found.end() :]
    return launch_server_cmd(os.path.expandvars(command))
