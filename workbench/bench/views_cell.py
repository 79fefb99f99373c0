"""The part of `workbench bench views` inside a kernel: an engine decodes, and its views open and close beside it."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count, pairwise
from threading import Event, Thread
from typing import Any

import msgspec

from workbench.bench.overhead import DECODE
from workbench.bench.views import ALONE, OPTIONS
from workbench.events import StepExecuted
from workbench.views.live import VIEWS
from workbench.views.live.feed import Feed
from workbench.views.tokens.widget import RequestWidget

WINDOW_S = 0.6
"""Seconds that views stay open or closed: a shared machine keeps its speed from one window to the next, and not for longer."""
PARAMS = {"temperature": 0, "max_new_tokens": 400, "ignore_eos": True}
MIN_STEPS = 4
"""In a window that counts: one between two batches has fewer."""


def load(options_json: str) -> tuple[Any, dict[str, Any]]:
    """Returns an engine and every view of it, by name."""
    import workbench

    engine = workbench.Engine(**json.loads(options_json))
    engine.generate(input_ids=DECODE.prompts(engine.get_server_info()["vocab_size"], -1), sampling_params={"max_new_tokens": 2})
    return engine, {name: engine.view(name, live=True, **OPTIONS.get(name, {})) for name in VIEWS if name not in ALONE}


def measure(engine: Any, views: dict[str, Any], rounds: int, is_drawn: bool) -> str:
    """Returns JSON: seconds of a step in each window without views, with all, with token detail too; states a second."""
    source = next(iter(views.values())).reader.source
    feed, sent = Feed.of(source), Counter[str]()
    send, names = feed.ticker.send, {view.key: name for name, view in views.items()}
    told_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    feed.ticker.send = lambda content, buffers: (sent.update(map(names.get, told_of(buffers[0]))), send(content, buffers))
    for view in views.values():
        if not is_drawn:
            view.answer({"do": "shown", "ticker": True})  # as a page would say
        if isinstance(view, RequestWidget):  # it switched token detail on, which is measured by itself
            source.need_detail(view.detail_user, False)
        feed.remove(view)

    def opened(stack: ExitStack) -> None:
        for view in views.values():
            stack.callback(feed.remove, view)
            feed.add(view)

    def detailed(stack: ExitStack) -> None:
        stack.enter_context(engine.token_detail())
        opened(stack)

    kinds: dict[str, Callable[[ExitStack], None]] = {"closed": lambda stack: None, "open": opened, "detail": detailed}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    shown_s = 0.0
    with decoding(engine):
        for number in range(rounds):
            for name in list(kinds)[:: -1 if number % 2 else 1]:
                with ExitStack() as stack:
                    kinds[name](stack)
                    began = time.monotonic()
                    seconds[name].append(a_step(engine))
                    shown_s += (time.monotonic() - began) * (name != "closed")
    rates = {name: sent[name] / shown_s for name in views}
    return json.dumps({**seconds, "rates": rates})


@contextmanager
def decoding(engine: Any) -> Iterator[None]:
    """Runs batches of 8 streams, one after the other, on a thread; the last one is cut off."""
    done = Event()
    rids: list[str] = []

    def work() -> None:
        vocab_size = engine.get_server_info()["vocab_size"]
        for seed in count():
            if done.is_set():
                break
            rids[:] = [f"stream-{seed}-{i}" for i in range(DECODE.num_prompts)]
            engine.generate(input_ids=DECODE.prompts(vocab_size, seed), sampling_params=PARAMS, rid=rids)

    worker = Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        done.set()
        for rid in rids:
            engine.abort(rid)
        worker.join()


def a_step(engine: Any) -> float:
    """Returns the mean seconds from one decode step of all streams to the next, over a window that begins now."""
    times: list[float] = []
    while len(times) < MIN_STEPS:
        first = engine.log.num_added
        time.sleep(WINDOW_S)
        steps = [event for event in engine.log.read(first)[1] if isinstance(event, StepExecuted)]
        times = [b.time - a.time for a, b in pairwise(steps) if is_decode(a) and is_decode(b) and b.step == a.step + 1]
    return statistics.fmean(times)


def is_decode(step: StepExecuted) -> bool:
    return [member.kind for member in step.members] == ["decode"] * DECODE.num_prompts
