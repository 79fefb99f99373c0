"""The pure halves of the views' JavaScript, in Node: as the one module that a page gets, and as the modules that it is made of.

Each `<name>.test.mjs` imports what it tests from `./view.mjs`, which is the joined module or exports all of the sources.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from workbench.views.live.scripts import CannotJoin, modules, script

HERE = Path(__file__).parent
VIEWS = HERE.parents[1] / "workbench" / "views"
TESTS = sorted(HERE.glob("*.test.mjs"))


@pytest.mark.parametrize("form", ["joined", "sources"])
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_layout(path: Path, form: str, tmp_path: Path) -> None:
    entry = VIEWS / path.name.removesuffix(".test.mjs") / "view.js"
    exports = "".join(f'export * from "{file.as_uri()}";\n' for file in modules(entry))
    (tmp_path / "view.mjs").write_text(script(entry) if form == "joined" else exports, "utf-8")
    shutil.copy(path, tmp_path)
    done = subprocess.run(["node", "--test", path.name], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_view_has_a_test() -> None:
    assert {path.name.removesuffix(".test.mjs") for path in TESTS} == {path.parent.name for path in VIEWS.glob("*/view.js")}


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.js").write_text(text, "utf-8")
    return folder / "view.js"


def test_a_module_stands_once_and_behind_those_that_it_imports(tmp_path: Path) -> None:
    entry = write(
        tmp_path,
        view='import { one } from "./a.js";\nimport { two } from "./b.js";\n\nexport default { sum: one + two };\n',
        a='import { base } from "./c.js";\nexport const one = base;\n',
        b='import {\n  base,\n} from "./c.js";\nexport const two = 2 * base;\n',
        c="// @ts-check\n/** A number. */\nexport const base = /** @type {number} */ (1);\n",
    )
    assert [path.stem for path in modules(entry)] == ["c", "a", "b", "view"]
    lines = [line for line in script(entry).splitlines() if line]
    assert lines[0] == "export const base = /** @type {number} */ (1);"
    assert lines[1:] == ["export const one = base;", "export const two = 2 * base;", "export default { sum: one + two };"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"view": 'import { one } from "./a.js";\n', "a": "const one = 1;\n"}, "view.js imports one from ./a.js, which does not"),
        ({"view": 'import { one } from "./a.js";\n'}, "view.js imports ./a.js, which does not exist"),
        (
            {
                "view": 'import { one } from "./a.js";\n',
                "a": 'import { two } from "./b.js";\nexport const one = 1;\n',
                "b": 'import { one } from "./a.js";\nexport const two = 2;\n',
            },
            "modules import each other: a.js -> b.js -> a.js",
        ),
        (
            {
                "view": 'import { one } from "./a.js";\nasync function helper() {}\n',
                "a": "class helper {}\nexport const one = 1;\n",
            },
            "helper is declared in a.js and in view.js",
        ),
        ({"view": 'import one from "./a.js";\n', "a": ""}, "cannot be joined"),
        ({"view": 'import { one as two } from "./a.js";\n', "a": "export const one = 1;\n"}, "view.js imports one as two"),
        ({"view": "const { one, two } = {};\n"}, "cannot be joined"),
        ({"view": "const one = 1;\nexport { one };\n"}, "cannot be joined"),
        ({"view": 'import { one } from "./a.js";\n', "a": "export const one = 1;\nexport default one;\n"}, "a default export"),
    ],
)
def test_modules_that_do_not_fit_are_refused(files: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(CannotJoin, match=says):
        script(write(tmp_path, **files))
