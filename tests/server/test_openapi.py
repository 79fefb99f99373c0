"""Cases that schemathesis makes of `/openapi.json`, on the real application: no fault of the server, no answer out of its schema.

WORKBENCH_OPENAPI_CASES sets their number: `make test` takes 2,000, `make test-all` 10,000.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import ExitStack

import hypothesis
import pytest
import schemathesis
from byte_model import write_byte_model
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

import workbench
from workbench.server.app import make_app
from workbench.server.serving import Serving
from workbench.types import ALIASES

pytestmark = pytest.mark.heavy
NUM_CASES = int(os.environ.get("WORKBENCH_OPENAPI_CASES", "800"))
SHARE_ANSWERED = 0.3
"""Least share of valid cases that the routes of `MUST_ANSWER` answer: cases that are all refused would test little."""
SHARE_OF = {"/v1/messages": 0.15, "/v1/score": 0.15, "/v1/embeddings": 0.15}
"""The same where more of the cases need something that this model lacks: reasoning, texts and ids that fit it."""
MUST_ANSWER = {"/generate", "/v1/chat/completions", "/v1/completions", "/v1/messages", "/api/chat", "/tokenize", "/function_call"}
SMALL = {
    "n": 3, "best_of": 3, "max_tokens": 20, "max_new_tokens": 20, "max_completion_tokens": 20, "num_predict": 20, "min_tokens": 1,
    "min_new_tokens": 1,
}  # fmt: skip
LENGTHS = {
    "/generate": ("sampling_params", "max_new_tokens"), "/v1/chat/completions": ("", "max_completion_tokens"),
    "/api/chat": ("options", "num_predict"), "/api/generate": ("options", "num_predict"),
    "/v1/responses": ("", "max_output_tokens"),
}  # fmt: skip
"""Places of the length of an output, by route: without one the output fills the context."""
EMBEDDING = {"/encode", "/v1/embeddings", "/v1/score", "/api/embed"}
WITHOUT_BODY = {"/flush_cache", "/stop_profile", "/v1/batches/{batch_id}/cancel"}
ENDLESS = {"/engine/events", "/page/events"}
"""Streams without an end, which `test_attach` reads."""
LONGEST_S = 60.0
CHECKS = [
    schemathesis.checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_schema_conformance, checks.response_headers_conformance,
]  # fmt: skip


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Returns a function that opens an engine of a tiny model; all are closed at the end."""
    folder = str(write_byte_model(tmp_path_factory.mktemp("model"), context_length=1024))
    with ExitStack() as stack:

        def schema(**args):
            engine = workbench.Engine(
                folder, load_format="dummy", dtype="float32", max_total_tokens=4000, file_storage_pth=f"{folder}/files", **args
            )
            stack.enter_context(engine)
            return schemathesis.openapi.from_asgi("/openapi.json", make_app(Serving(engine._handle)))

        yield schema


def test_no_case_ends_in_a_fault(load):
    operations = [
        each.ok() for each in load(enable_metrics=True, tool_call_parser="hermes", reasoning_parser="qwen3").get_all_operations()
    ]
    with_body = [each for each in operations if each.body]
    assert {each.path for each in operations if each.method == "post" and not each.body} == WITHOUT_BODY
    for operation in operations:
        if not operation.body and operation.path not in ENDLESS:
            statuses(operation, GenerationMode.POSITIVE, 3)
    assert check_bodies(with_body, NUM_CASES, MUST_ANSWER) >= 0.9 * NUM_CASES


def test_no_case_of_embeddings_ends_in_a_fault(load):
    operations = [each.ok() for each in load(is_embedding=True).get_all_operations()]
    check_bodies([each for each in operations if each.path in EMBEDDING], NUM_CASES // 10, EMBEDDING)


def check_bodies(operations, num_cases, must_answer):
    """Checks that many cases, half of them against the schema, and returns their number."""
    num_each, total = max(num_cases // len(operations) // 2, 5), 0
    for operation in operations:
        valid = statuses(operation, GenerationMode.POSITIVE, num_each)
        invalid = statuses(operation, GenerationMode.NEGATIVE, num_each)
        total += valid.total() + invalid.total()
        share = SHARE_OF.get(operation.path, SHARE_ANSWERED)
        assert operation.path not in must_answer or valid[200] >= share * valid.total(), f"{operation.path}: {valid}"
    return total


OF_OTHERS = {"image_data", "session_params", "custom_logit_processor", "images", "token_ids_logprob", "rid"}
"""Fields whose values need another model or setting, or what the server has made before."""
MEDIA = {"image_url", "video_url", "image"}
VOCABULARY, WIDTH, LONGEST_TEXT = 256, 32, 40
EACH = {
    "return_logprob", "logprob_start_len", "top_logprobs_num", "return_text_in_logprobs", "return_hidden_states", "priority",
    "timeout_s", "namespace", "modalities", "sampling_params",
}  # fmt: skip
"""Fields of `/generate` that may have a list, with one value for each prompt."""


def fitting(value):
    """Returns token ids of the model for any, short texts, and the contents of messages without pictures."""
    if isinstance(value, list):
        return [fitting(each) for each in value]
    if isinstance(value, dict):
        fits = {name: fitting(each) for name, each in value.items()}
        if isinstance(parts := fits.get("content"), list):
            fits["content"] = [part for part in parts if not (isinstance(part, dict) and str(part.get("type")) in MEDIA)]
        return fits
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    return value % VOCABULARY if isinstance(value, int | float) and value > VOCABULARY else value


def small(case):
    """Returns the case with less to compute: few samples of few tokens, and without what this model and its settings refuse.

    A pause becomes its end: an engine that pauses answers no later case.
    """
    if (case.path_parameters or {}).get("name") == "pause_generation":
        case.path_parameters["name"] = "continue_generation"
    if isinstance(case.body, dict):
        for name in OF_OTHERS & case.body.keys():
            del case.body[name]
        for name in ("input_ids", "prompt", "messages", "stop_token_ids", "tokens"):
            if name in case.body:
                case.body[name] = fitting(case.body[name])
        if "input_embeds" in case.body:
            case.body["input_embeds"] = [[0.5] * WIDTH]
        for name in EACH & case.body.keys():
            if isinstance(value := case.body[name], list) and value:
                case.body[name] = value[0]
        where, limit = LENGTHS.get(case.path, ("", ""))
        options = case.body.setdefault(where, {}) if where else case.body
        if limit and isinstance(options, dict) and not isinstance(options.get(limit), int | float):
            options[limit] = SMALL["max_tokens"]
        nested = params if isinstance(params := case.body.get("sampling_params"), dict) else {}
        remove_twice(case.body, nested)
        for each in (case.body, nested):
            make_small(each)
            keep_one_constraint(each)
    return case


def remove_twice(body, params):
    """Removes the second name of a parameter, and from a body what its sampling parameters have too, a constraint among it."""
    for alias in {alias for alias, name in ALIASES.items() if name in params} & params.keys():
        del params[alias]
    given = {ALIASES.get(name, name) for name in params}
    twice = {name for name in body if ALIASES.get(name, name) in given}
    for name in twice | (CONSTRAINTS.keys() & body.keys() if CONSTRAINTS.keys() & params.keys() else set()):
        del body[name]


def make_small(params):
    """Lowers numbers of samples and tokens."""
    for name, most in SMALL.items():
        if isinstance(value := params.get(name), int | float) and value > most:
            params[name] = 1 + int(value) % most


CONSTRAINTS = {
    "regex": "[ab]+", "choices": ["a", "b"], "ebnf": 'root ::= "a" | "b"', "grammar": 'start: "a"',
    "json_schema": {"type": "null"}, "structural_tag": None, "json_object": None,
}  # fmt: skip
"""Constraints, and values of them that hold."""


def keep_one_constraint(params):
    """Removes all constraints but the first; every second of those has a value that holds, for few random texts are grammars."""
    first, *others = [name for name in CONSTRAINTS if params.get(name) is not None] or [None]
    for name in others:
        del params[name]
    if first is not None and len(str(params[first])) % 2:
        params[first] = CONSTRAINTS[first]


def statuses(operation, mode, num_cases):
    """Returns how often each status was the answer."""
    counts = Counter()

    @hypothesis.settings(
        max_examples=num_cases,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(operation.as_strategy(generation_mode=mode).map(small))
    def check(case):
        began = time.monotonic()
        response = case.call(timeout=2 * LONGEST_S)
        counts[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)
        assert time.monotonic() - began < LONGEST_S, case.body

    check()
    return counts
