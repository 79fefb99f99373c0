"""The example of the README runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_example_of_the_readme_runs(smollm2, tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "example.py"
    file.write_text(example)
    exec(compile(example, str(file), "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert re.match(r" (happy|angry)  [1-5]\n", printed)
    assert "took" in printed
    assert (tmp_path / "run.html").stat().st_size < 600_000
