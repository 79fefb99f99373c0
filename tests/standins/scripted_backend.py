"""A backend whose answers are given by a function, for tests of the interpreter. It can be held back, and it keeps its
prompts."""

from __future__ import annotations

import threading

from workbench.errors import BackendFailed
from workbench.lang.backends.base import FEATURES, Backend, Piece, Selection


class ScriptedBackend(Backend):
    """A backend that answers a prompt with `answer(text)`, in pieces of one word. `gate` holds every answer until it is set."""

    name = "Scripted"
    features = FEATURES
    params = frozenset({"max_new_tokens", "temperature", "stop"})

    def __init__(self, answer=lambda text: f"<{len(text)}>"):
        super().__init__()
        self.answer = answer
        self.calls = []
        self.warmed = []
        self.num_inside = self.most_inside = 0
        self.gate = threading.Event()
        self.gate.set()
        self.aborted = []
        self._count = threading.Lock()

    def generate(self, call):
        with self._count:
            self.calls.append(call)
            self.num_inside += 1
            self.most_inside = max(self.most_inside, self.num_inside)
        cut = threading.Event()
        try:
            with self.abortable(call.rid, lambda: (cut.set(), self.gate.set())):
                self.gate.wait()
                if cut.is_set():
                    raise BackendFailed("the line was cut")
                text = self.answer(self.text_of(call.prompt))
                for i in range(call.params.get("n", 1)):
                    words = text.split(" ")
                    for j, word in enumerate(words):
                        yield Piece(word if j == 0 else f" {word}", i)
                    meta = {"id": call.rid, "prompt_tokens": 10, "cached_tokens": 4, "completion_tokens": len(words)}
                    yield Piece("", i, meta | {"finish_reason": {"type": "stop", "matched": None}})
        finally:
            with self._count:
                self.num_inside -= 1

    def select(self, call):
        return Selection(len(call.choices) - 1, tuple(float(i) for i in range(len(call.choices))), (), {"id": call.rid})

    def warm(self, prompt):
        self.warmed.append(prompt)

    def abort(self, rid):
        self.aborted.append(rid)
        super().abort(rid)

    def flush_cache(self):
        self.calls.clear()

    def get_server_info(self):
        return {"model": "scripted"}
