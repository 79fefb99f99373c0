"""The call that makes vectors, with an encoder that needs no model."""

from __future__ import annotations

import numpy as np

from workbench.engine.calls import CoreCalls
from workbench.engine.encode import batches
from workbench.events import RequestArrived, RequestFinished, StepExecuted
from workbench.testing import make_core
from workbench.types import EncodeRequest


class Lengths:
    """An encoder whose vectors are the length of a text and its first token."""

    width = 2
    keeps_kv = reuses = False

    def batches(self, texts):
        return batches(texts, 8)

    def encode(self, texts):
        return np.array([[len(text.request.input_ids), text.request.input_ids[0]] for text in texts], np.float32).tobytes()


def test_each_text_has_its_vector_and_its_events_in_the_log():
    core = make_core()
    texts = [EncodeRequest(rid=f"t{i}", input_ids=(i,) * (3 + i), namespace="n", waited_s=0.25) for i in range(4)]
    rows = CoreCalls(core, None, None, encoder=Lengths()).encode(texts)
    assert np.frombuffer(rows.data, np.float32).reshape(-1, rows.width).tolist() == [[3, 0], [4, 1], [5, 2], [6, 3]]
    events = core.log.read(0)[1]
    arrived = [event for event in events if isinstance(event, RequestArrived)]
    steps = [event for event in events if isinstance(event, StepExecuted)]
    assert [(event.rid, event.num_prompt, event.namespace) for event in arrived] == [(f"t{i}", 3 + i, "n") for i in range(4)]
    assert [[member.rid for member in step.members] for step in steps] == [["t0", "t1"], ["t2"], ["t3"]], "8 tokens each at most"
    ends = [event for event in events if isinstance(event, RequestFinished)]
    assert [(event.rid, event.reason, event.num_output) for event in ends] == [(f"t{i}", "stop", 0) for i in range(4)]
    assert ends[0].time - arrived[0].time >= 0.25
