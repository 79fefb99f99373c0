"""The common prefix of a batch: literal text up to the first generation or differing input."""

from __future__ import annotations

import pytest
from scripted_backend import ScriptedBackend

import workbench as sgl
from workbench.lang.tracing import common_prefix, running_on

TWO = [{"x": "one"}, {"x": "two"}]


def prefix(body, inputs=TWO):
    return common_prefix(body, inputs).plain_text


def test_the_prefix_ends_at_the_first_generation():
    assert prefix(lambda s, x: s.__iadd__("a" + "b" + sgl.gen("g") + "c")) == "ab"
    assert prefix(lambda s, x: s.__iadd__("a" + sgl.select("g", ["p"]))) == "a"


def formatted(s, x):
    s += "Intro. "
    s += f"Q: {x}?"
    s += "never" + sgl.gen("a")


def added(s, x):
    s += "Intro. Q: " + x + "?" + sgl.gen("a")


def appended(s, x):
    s += "Intro. Q: "
    s += x


def percent(s, x):
    s += "Intro. Q: %s" % x  # noqa: UP031


@pytest.mark.parametrize("body", [formatted, added, appended, percent])
def test_the_prefix_ends_at_an_input_that_differs_however_it_is_written(body):
    assert prefix(body) == "Intro. Q: "


def test_an_input_that_is_the_same_for_all_stands_as_it_is():
    def body(s, examples, x):
        s += examples + "Q: " + x + sgl.gen("a")

    assert prefix(body, [{"examples": "E1 E2 ", "x": "one"}, {"examples": "E1 E2 ", "x": "two"}]) == "E1 E2 Q: "


def branches(s, x):
    s += "Start "
    if x == "one":
        s += "never"


def loops(s, x):
    s += "Start "
    for word in x:
        s += word


def reads(s, x):
    s += "Start "
    s += s["nothing"]


def methods(s, x):
    s += "Start "
    s += x.strip()


def fails(s, x):
    s += "Start "
    raise RuntimeError


def forks(s, x):
    s += "Start "
    s.fork(2)


def text(s, x):
    s += "Start "
    s.text()


@pytest.mark.parametrize("body", [branches, loops, reads, methods, fails, forks, text])
def test_the_trace_stops_where_it_would_have_to_know_more(body):
    assert prefix(body) == "Start "


def test_roles_are_kept_and_end_inside_a_message():
    def body(s, x):
        s += sgl.system("S")
        s.user("U " + x)

    found = common_prefix(body, TWO)
    assert found.messages == [{"role": "system", "content": "S"}, {"role": "user", "content": "U "}]
    assert found.turns[-1].is_open


def test_a_batch_warms_its_prefix_once_and_one_program_or_none_warms_nothing():
    backend = ScriptedBackend()
    program = sgl.function(added)
    program.run_batch([{"x": "one"}], backend=backend)
    program.run_batch(TWO, backend=backend, warm=False)
    assert backend.warmed == []
    program.run_batch(TWO, backend=backend)
    assert [prompt.plain_text for prompt in backend.warmed] == ["Intro. Q: "]


def test_an_interrupt_in_the_function_ends_the_trace_and_programs_run_afterwards():
    def body(s, x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        common_prefix(body, TWO)
    assert running_on.get() is None
