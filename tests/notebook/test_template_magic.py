"""`%wb template` names missing variables and conversations in two-line errors."""

from __future__ import annotations

import pytest

from workbench.errors import WorkbenchError


def test_without_a_conversation_it_says_how_one_begins(loaded, shell):
    with pytest.raises(WorkbenchError, match="no conversation is called 'default'") as caught:
        shell.run("%wb template")
    assert caught.value.hint == "%%wb_chat begins one"


def test_a_variable_that_does_not_exist_is_named(loaded, shell):
    with pytest.raises(WorkbenchError, match="there is no variable 'nothing'"):
        shell.run("%wb template nothing")


def test_the_conversation_and_variables_become_messages(loaded, shell, monkeypatch):
    asked = []
    monkeypatch.setattr(loaded, "view", lambda name, **options: asked.append((name, options)) or 7, raising=False)
    shell.run("said = [{'role': 'user', 'content': 'x'}]")
    shell.run("%wb template said --against said")
    shell.run("%wb template --conversation other said")
    assert [options["messages"][0]["content"] for _, options in asked] == ["x", "x"]
    assert asked[0][1]["against"][0]["content"] == "x"
