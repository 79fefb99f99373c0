"""Errors of the engine as error objects of the APIs."""

from __future__ import annotations

import pytest

from workbench.errors import EngineDead, InvalidRequest, NotSupported, PromptTooLong, QueueFull
from workbench.server.problem import Problem, problem_of


@pytest.mark.parametrize(
    "error, status, code",
    [
        (InvalidRequest("n", 0, "at least 1"), 400, "invalid_value"),
        (PromptTooLong("prompt", 9, "at most 8 tokens"), 400, "context_length_exceeded"),
        (NotSupported("no pictures"), 400, "not_supported"),
        (QueueFull("full"), 429, "queue_full"),
        (EngineDead("gone"), 503, "engine_unavailable"),
        (KeyError("secret"), 500, None),
    ],
)
def test_an_error_has_the_status_and_code_of_its_kind(error, status, code):
    problem = problem_of(error)
    assert (problem.status, problem.code) == (status, code)
    assert "secret" not in problem.message
    assert ("retry-after" in problem.headers) == (status in (429, 503))


def test_each_api_has_its_own_envelope():
    problem = Problem(503, "busy")
    assert problem.for_path("/v1/chat/completions")["error"]["message"] == "busy"
    assert problem.for_path("/v1/messages") == {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    assert problem.for_path("/api/chat") == {"error": "busy"}
