"""The package as a whole: what it imports, how it is laid out, and that the README is true."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from workbench.errors import install

ROOT = Path(__file__).parents[2]
TOP_LEVEL = {"notebooks", "workbench", "docs", "tests", "environment.yml", "pyproject.toml", "Makefile", "README.md", "LICENSE"}
TOP_LEVEL |= {"CITATION.cff"}  # hosts and reference managers look for it here alone
EXTRAS = set("engine srt vision video notebook server openai anthropic vertexai litellm otel cuda docs test all".split())
HEAVY = ("torch", "numpy", "transformers", "tokenizers", "IPython", "ipywidgets", "anywidget", "zmq")


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def modules_after(code: str) -> set[str]:
    """Returns the names of the modules that a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.process
@pytest.mark.parametrize("code", ["import workbench", "from workbench import ServerArgs, SamplingParams, WorkbenchError"])
def test_importing_the_package_loads_nothing_heavy(code):
    assert modules_after(code).isdisjoint(HEAVY)


@pytest.mark.process
@pytest.mark.parametrize("module", ["cli", "views", "cache", "bench", "launch.start", "process.main", "engine.local_client"])
def test_parts_that_need_no_model_import_without_torch(module):
    assert "torch" not in modules_after(f"import workbench.{module}")


@pytest.mark.process
@pytest.mark.heavy
def test_an_engine_imports_only_what_a_first_token_needs():
    """On the way to a token that was not asked for in a chat, under a constraint or about a picture."""
    loaded = modules_after("import workbench; workbench.Engine; import workbench.launch.engine")
    assert "torch" in loaded
    ours = loaded - modules_after("")  # some systems import modules of their own at every start
    parts = {name.partition(".")[0] for name in ours if not name.startswith("_")} - sys.stdlib_module_names
    assert parts <= set("workbench torch torchgen msgspec numpy psutil safetensors tokenizers tqdm typing_extensions".split())
    rooms = {".".join(name.split(".")[:2]) for name in loaded} | loaded
    later = "magics server views why api.questions lang.backends lang.nodes model.vision hub.wheels"
    assert rooms.isdisjoint({"torch._dynamo", "torch._inductor", *(f"workbench.{name}" for name in later.split())})


@pytest.mark.process
def test_a_server_starts_its_engine_before_it_imports_what_http_needs():
    loaded = modules_after("import workbench.serve_cli, workbench.server.run")
    assert loaded.isdisjoint({"uvicorn", "starlette", "numpy", "torch", "workbench.api.handle", "workbench.server.app"})


@pytest.mark.process
@pytest.mark.parametrize("package", ["zmq", "uvicorn", "fastapi"])
def test_a_server_without_a_package_says_which_extra_to_install_before_an_engine_opens(package):
    code = f"import sys; sys.modules[{package!r}] = None; from workbench.cli import main; sys.exit(main(['serve', 'no-model']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert lines[0].endswith(f"workbench serve needs {package}")
    assert install("engine,server") in lines[1]
    assert len(lines) == 2


@pytest.mark.process
@pytest.mark.parametrize("room", ["why", "views", "lang"])
def test_explanations_views_and_programs_load_neither_torch_nor_the_engine(room):
    """All their modules, in a fresh interpreter; the import contract checks the same in their source."""
    names = [name for name in tracked_files() if name.startswith(f"workbench/{room}/") and name.endswith(".py")]
    modules = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names]
    assert len(modules) > 10
    loaded = modules_after(f"import {', '.join(modules)}")
    assert not [name for name in loaded if name == "torch" or name.startswith("workbench.engine")]


@pytest.mark.process
def test_loading_the_extension_imports_no_torch():
    code = (
        "from IPython.testing.globalipapp import get_ipython; import workbench; workbench.load_ipython_extension(get_ipython())"
    )
    assert "torch" not in modules_after(code)


def test_every_public_name_resolves_and_a_wrong_one_does_not():
    import workbench

    assert {name: getattr(workbench, name).__name__ for name in workbench.__all__} == {name: name for name in workbench.__all__}
    assert set(workbench.__all__) <= set(dir(workbench))
    with pytest.raises(AttributeError, match="no attribute 'Engin'"):
        _ = workbench.Engin


@pytest.mark.process
def test_in_a_base_install_the_engine_says_which_extra_to_install():
    code = "import sys; sys.modules.update(torch=None, numpy=None, psutil=None, zmq=None)\n"
    code += "import workbench\ntry: workbench.Engine\nexcept ImportError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"workbench.Engine needs \w+, of the extra engine \(.*\): (.*)", done.stdout.strip())[1] == install(
        "engine"
    )


def test_the_command_that_adds_an_extra_names_this_clone(monkeypatch):
    from workbench import errors

    assert install("engine") == f"pip install -e '{ROOT}[engine]'"
    monkeypatch.setattr(errors, "__file__", "/site-packages/workbench/errors.py")
    assert install("engine") == "pip install 'radix-workbench[engine]'"


@pytest.mark.process
def test_modules_import_lower_layers_only():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "COLUMNS": "160"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def tracked_files() -> list[str]:
    """Returns the files that git tracks or would track, relative to the checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.splitlines() if (ROOT / name).exists()]


def test_the_top_level_is_as_agreed():
    top = {name.split("/")[0] for name in tracked_files()}
    assert {name for name in top if not name.startswith(".")} == TOP_LEVEL


def test_tests_hold_no_init_files_and_modules_have_docstrings():
    names = [name for name in tracked_files() if name.endswith(".py")]
    assert not [name for name in names if name.startswith("tests/") and name.endswith("__init__.py")]
    sources = {name: (ROOT / name).read_text() for name in names if name.startswith("workbench/")}
    assert not [name for name, source in sources.items() if not ast.get_docstring(ast.parse(source))]


def notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.name)
def test_notebooks_are_stored_without_outputs(path):
    cells = json.loads(path.read_text())["cells"]
    full = [i for i, cell in enumerate(cells) if cell.get("outputs") or cell.get("execution_count") is not None]
    assert not full, f"cells {full} hold outputs: run `make strip`"


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.name)
def test_notebooks_assert_what_they_claim_and_use_the_kernel_of_the_environment(path):
    book = json.loads(path.read_text())
    code = "\n".join("".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code")
    assert re.search(r"^\s*assert ", code, re.MULTILINE)
    assert book["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.name)
def test_a_notebook_is_read_in_less_than_ten_minutes(path):
    """At 200 words a minute, and 1.2 seconds for a line of code."""
    cells = json.loads(path.read_text())["cells"]
    texts = {kind: "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == kind) for kind in ("markdown", "code")}
    lines = [line for line in texts["code"].splitlines() if line.strip()]
    assert len(texts["markdown"].split()) / 200 + len(lines) * 1.2 / 60 < 10


@pytest.mark.parametrize("number", ["05", "06", "07"])
def test_the_exercises_of_a_notebook_have_a_hidden_answer_and_a_cell_that_checks_it(number):
    (path,) = (ROOT / "notebooks").glob(f"{number}-*.ipynb")
    cells = json.loads(path.read_text())["cells"]
    (start,) = [i for i, cell in enumerate(cells) if "".join(cell["source"]).startswith("## Exercises")]
    asked = [i for i in range(start, len(cells)) if re.search(r"^\*\*\d\.\*\* ", "".join(cells[i]["source"]), re.MULTILINE)]
    assert len(asked) >= 2
    for i in asked:
        assert re.search(r"<details><summary>Answer</summary>\n\n.{20,}\n\n</details>", "".join(cells[i]["source"]), re.DOTALL)
        assert "hide-input" in cells[i + 1]["metadata"]["tags"]
        assert "assert " in "".join(cells[i + 1]["source"])


def test_notebooks_are_numbered_without_a_gap_and_the_page_of_tutorials_counts_them():
    names = [path.name for path in notebooks()]
    assert [name[:2] for name in names] == [f"{i:02}" for i in range(len(names))]
    words = {10: "Ten", 11: "Eleven", 12: "Twelve", 13: "Thirteen"}
    assert f"{words[len(names)]} notebooks" in (ROOT / "docs/tutorials.md").read_text()
    assert f"{words[len(names)].lower()} notebooks" in (ROOT / "docs/index.md").read_text()
    welcome = (ROOT / "notebooks/00-welcome.ipynb").read_text()
    assert all(f"]({name})" in welcome for name in names[1:]), "the first notebook leads to all others"


def test_commands_in_the_readme_exist(project):
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    inline = re.findall(r"`[^`]+`", re.sub(r"```.*?```", "", readme, flags=re.DOTALL))
    lines = re.findall(r"^\$ .*", readme, re.MULTILINE)
    named = set(re.findall(r"make ([a-z-]+)", "\n".join([*inline, *lines])))
    assert {"lab", "test"} <= named <= targets
    assert set(re.findall(r"\]\((?!http)([^)#]+)\)", readme)) <= set(tracked_files())


def test_extras_are_the_agreed_ones_and_the_base_has_no_torch(project):
    extras = project["project"]["optional-dependencies"]
    assert set(extras) == EXTRAS
    assert extras["srt"] == ["radix-workbench[engine]"]
    assert [re.split(r"[<>=\[]", name)[0] for name in project["project"]["dependencies"]] == ["jinja2", "msgspec"]


def test_torch_is_a_range_and_the_constraint_lies_in_it(project):
    from packaging.requirements import Requirement

    (torch,) = [Requirement(line) for line in project["project"]["optional-dependencies"]["engine"] if line.startswith("torch")]
    (pin,) = [Requirement(line) for line in (ROOT / ".ci/constraints.txt").read_text().split()]
    (version,) = [spec.version for spec in pin.specifier if spec.operator == "=="]
    assert version in torch.specifier
    assert not [spec for spec in torch.specifier if spec.operator == "=="]


def test_the_conda_environment_asks_for_what_the_package_asks_for(project):
    """conda itself is not at hand everywhere: its file is compared with the package's own ranges."""
    from packaging.requirements import Requirement

    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (by_pip,) = [each["pip"] for each in environment["dependencies"] if isinstance(each, dict)]
    plain = (Requirement(each) for each in environment["dependencies"] if isinstance(each, str))
    by_conda = {one.name: one for one in plain}
    extras = project["project"]["optional-dependencies"]
    (torch,) = [Requirement(line) for line in extras["engine"] if line.startswith("torch>")]
    assert by_conda.keys() == {"python", "pip", "pytorch-cpu"}
    assert str(by_conda["python"].specifier) == project["project"]["requires-python"]
    assert by_conda["pytorch-cpu"].specifier == torch.specifier
    (own,) = by_pip
    assert own.startswith("-e .[")
    assert {"engine", "notebook"} <= set(own[len("-e .[") : -1].split(",")) <= set(extras)
    assert environment["channels"] == ["conda-forge"], "one channel: packages of two do not fit each other"


def test_every_make_target_is_phony_and_ci_runs_the_tests():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert targets == set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    assert re.search(r"^make check\b", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    for name in ("test", "check"):
        assert "$(JOBS)" in re.search(rf"^{name}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1]
