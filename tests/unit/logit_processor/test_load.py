"""A processor travels as an import path or as source, runs only when enabled, and fails with a clear message."""

from __future__ import annotations

import json
import math
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.errors import InvalidRequest, NotSupported
from workbench.logit_processor import CustomLogitProcessor, load_processor
from workbench.srt.sampling import custom_logit_processor as shim

OFFSET = 0.5
UNPORTABLE = object()


class Deterministic(CustomLogitProcessor):
    """The reference's example: it allows only `token_id`."""

    def __call__(self, logits, custom_param_list):
        assert logits.shape[0] == len(custom_param_list)
        for row, params in enumerate(custom_param_list):
            logits[row, :] = -float("inf")
            logits[row, params["token_id"]] = 0.0
        return logits


class WithSurroundings(CustomLogitProcessor):
    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, logits: torch.Tensor, custom_param_list: list[dict[str, Any]]) -> torch.Tensor:
        return logits * self.scale + OFFSET + math.pi + len(string.digits) + torch.zeros(1)


class Unportable(CustomLogitProcessor):
    def __call__(self, logits, custom_param_list):
        return logits if UNPORTABLE else None


# As if defined in a cell: no other process could import them.
WithSurroundings.__module__ = Unportable.__module__ = "__main__"


def fresh_process(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)


def test_the_shim_is_the_class() -> None:
    assert shim.CustomLogitProcessor is CustomLogitProcessor


def test_a_processor_is_refused_unless_enabled() -> None:
    with pytest.raises(NotSupported, match="enable_custom_logit_processor"):
        load_processor(Deterministic().to_str(), enabled=False)


def test_the_example_forces_its_token_after_the_journey() -> None:
    processor = load_processor(Deterministic().to_str(), enabled=True)
    logits = processor(torch.randn(2, 10), [{"token_id": 5}, {"token_id": 7}])
    assert logits.argmax(-1).tolist() == [5, 7]
    assert torch.isinf(logits).sum() == 18


def test_equal_texts_give_one_object_and_other_state_another() -> None:
    texts = [WithSurroundings(2.0).to_str(), WithSurroundings(2.0).to_str(), WithSurroundings(3.0).to_str()]
    one, same, other = (load_processor(text, enabled=True) for text in texts)
    assert one is same
    assert one is not other
    logits = torch.randn(1, 4)
    assert torch.equal(other(logits, [{}]), WithSurroundings(3.0)(logits, [{}]))


@pytest.mark.process
def test_source_runs_in_a_process_that_has_never_seen_it() -> None:
    """The source has the constant, the modules and the attribute that it uses."""
    code = """
import sys
from workbench.logit_processor import load_processor
import torch
print(load_processor(sys.argv[1], enabled=True)(torch.ones(1, 1), [{}]).item())
"""
    text = WithSurroundings(2.0).to_str()
    done = fresh_process(code, text)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(2 + 0.5 + math.pi + 10)


def test_an_importable_class_goes_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_processor.py").write_text(
        "from workbench.logit_processor import CustomLogitProcessor\n"
        "class Own(CustomLogitProcessor):\n    def __call__(self, logits, params):\n        return logits + 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import own_processor

    text = own_processor.Own().to_str()
    assert json.loads(text) == {"class": "Own", "module": "own_processor"}
    assert type(load_processor(text, enabled=True)) is own_processor.Own


CELLS = [
    "import torch\nimport math as m\nSCALE = 3",
    """%time 1
from workbench.srt.sampling.custom_logit_processor import CustomLogitProcessor

class Cell(CustomLogitProcessor):
    # a comment with 'quotes'
    def __call__(self, logits, custom_param_list):
        return self.times(logits) + m.floor(1.5)

    def times(self, logits):
        return logits * SCALE
""",
    "print(Cell().to_str())",
    "SCALE = 100",
    "class Cell(CustomLogitProcessor):\n    def __call__(self, logits, params):\n        return logits - SCALE",
    "print(Cell().to_str())",
]


@pytest.mark.process
def test_a_class_defined_in_a_notebook_cell_travels_as_source() -> None:
    """In a real IPython, cells are not files; the second definition replaces the first."""
    code = f"""
from IPython.core.interactiveshell import InteractiveShell
for cell in {CELLS!r}:
    InteractiveShell.instance().run_cell(cell).raise_error()
"""
    done = fresh_process(code)
    assert done.returncode == 0, done.stderr
    first, second = (load_processor(line, enabled=True) for line in done.stdout.splitlines() if line.startswith("{"))
    assert first(torch.tensor([[2.0]]), [{}]).item() == 7.0
    assert second(torch.tensor([[2.0]]), [{}]).item() == -98.0


def test_what_cannot_travel_is_named() -> None:
    with pytest.raises(InvalidRequest, match="UNPORTABLE"):
        Unportable().to_str()
    with pytest.raises(InvalidRequest, match="scale"):
        WithSurroundings(torch.ones(1)).to_str()  # type: ignore[arg-type]
    namespace: dict[str, Any] = {"Base": CustomLogitProcessor, "__name__": "nowhere"}
    exec("class Typed(Base):\n    def __call__(self, logits, params):\n        return logits", namespace)
    with pytest.raises(InvalidRequest, match="source can be found"):
        namespace["Typed"]().to_str()


@pytest.mark.parametrize(
    "data, message",
    [
        ("not json", "to_str"),
        ("[]", "to_str"),
        ('{"source": "x = 1"}', "to_str"),
        ({"class": "C", "source": "class C(CustomLogitProcessor)\n    pass"}, "line 1"),
        ({"class": "C", "source": "x = 1\n\ny = undefined_name"}, "line 3: NameError"),
        ({"class": "C", "source": "class D: pass"}, "subclass of CustomLogitProcessor"),
        ({"class": "C", "source": "class C(CustomLogitProcessor): pass"}, "has __call__"),
        ({"class": "C", "source": "class C: pass"}, "subclass of CustomLogitProcessor"),
        ({"class": "C", "module": "no_such_module"}, "no_such_module"),
        ({"class": "nothing", "module": "json"}, "json:nothing"),
        ({"class": "JSONDecoder", "module": "json"}, "subclass"),
    ],
)
def test_texts_that_do_not_work_are_invalid_requests(data: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        load_processor(data if isinstance(data, str) else json.dumps(data), enabled=True)
