"""The parts of `workbench.testing` do what their docstrings state."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.events import EventLog, RequestArrived, TokenSampled
from workbench.testing import (
    AllowAll,
    AllowTokens,
    ByteTokenizer,
    FoldReader,
    ScriptedRunner,
    events_of,
    make_core,
    make_request,
    plain_loop,
    run_to_end,
)


def test_a_core_equals_the_plain_loop() -> None:
    core = make_core(page_size=4, chunked_prefill_size=3)
    core.add(make_request("a", range(20), 8))
    core.add(make_request("b", [7], 5))
    outputs = run_to_end(core)
    assert outputs["a"].token_ids == plain_loop(range(20), 8)
    assert outputs["b"].token_ids == plain_loop([7], 5)
    assert [event.rid for event in events_of(core, RequestArrived)] == ["a", "b"]
    assert len(events_of(core, TokenSampled, "b")) == 5


def test_a_core_without_an_end_is_an_error_and_not_a_loop() -> None:
    core = make_core()
    core.add(make_request("a", [1], 100))
    with pytest.raises(AssertionError, match="not done after 10 steps"):
        run_to_end(core, 10)


def test_a_scripted_runner_writes_the_given_text_and_leaves_other_requests_alone() -> None:
    text = ByteTokenizer()
    core = make_core(runner=ScriptedRunner({"greeting": text.encode("Grüße")}))
    core.add(make_request("greeting", text.encode("Say hello: "), 9))
    core.add(make_request("other", [7], 5))
    outputs = run_to_end(core)
    assert text.decode(outputs["greeting"].token_ids[:7]) == "Grüße"
    assert len(outputs["greeting"].token_ids) == 9
    assert outputs["other"].token_ids == plain_loop([7], 5)


@pytest.mark.parametrize("ids", [(), (0,), (31, 32, 99)])
def test_the_mask_of_allowed_tokens_holds_these_bits(ids: tuple[int, ...]) -> None:
    mask = np.full(4, 5, dtype=np.int32)
    AllowTokens(*ids).fill_mask(mask)
    assert [i for i in range(128) if mask[i // 32] >> (i % 32) & 1] == list(ids)
    AllowAll().fill_mask(mask)
    assert (mask == -1).all()


class Ids:
    """A fold: the ids of all requests that arrived."""

    def __init__(self) -> None:
        self.rids: set[str] = set()

    def apply(self, event: object) -> None:
        if isinstance(event, RequestArrived):
            self.rids.add(event.rid)


def test_a_reader_that_fell_behind_begins_again_from_a_snapshot() -> None:
    core = make_core(log=EventLog(4))
    reader = FoldReader(core, Ids)
    core.add(make_request("a", [1], 50))
    assert reader.read().rids == {"a"}
    for _ in range(10):
        core.step()
    core.add(make_request("b", [2], 5))
    assert reader.read().rids == {"a", "b"}
    assert reader.num_restarts == 1


def test_bytes_become_text_again() -> None:
    text = ByteTokenizer()
    assert text.decode([*text.encode("漢"), text.end_id]) == "漢"
    assert text.decode([text.end_id], skip_special_tokens=False) == "<|end|>"
    messages = [{"role": "user", "content": "hello"}]
    assert text.decode(text.apply_chat_template(messages)) == "user: hello\nassistant: "
