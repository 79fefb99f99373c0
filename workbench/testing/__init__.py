"""Parts for tests of engines, views and programs without a model: no torch, no thread, no waiting.

`make_core` makes a real `EngineCore` on the fake runner, and `plain_loop` gives the tokens that its requests must produce:

    core = make_core(page_size=4, chunked_prefill_size=3)
    core.add(make_request("a", range(20), 8))
    assert run_to_end(core)["a"].token_ids == plain_loop(range(20), 8)

`ScriptedRunner` produces given tokens instead, `ByteTokenizer` turns text into bytes, `AllowTokens` stands for a constraint, and
`FoldReader` folds a core's event log as a live view does.
"""

from __future__ import annotations

from workbench.engine.fake import VirtualClock
from workbench.testing.client import core_calls, make_client
from workbench.testing.engine import VOCAB_SIZE, Produced, ScriptedRunner, make_core, make_request, plain_loop, run_to_end
from workbench.testing.log import FoldReader, events_of
from workbench.testing.matchers import AllowAll, AllowTokens, BrokenMatcher
from workbench.testing.text import ByteTokenizer

__all__ = [
    "VOCAB_SIZE", "AllowAll", "AllowTokens", "BrokenMatcher", "ByteTokenizer", "FoldReader", "Produced", "ScriptedRunner",
    "VirtualClock", "core_calls", "events_of", "make_client", "make_core", "make_request", "plain_loop", "run_to_end",
]  # fmt: skip
