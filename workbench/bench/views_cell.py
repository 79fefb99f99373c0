"""What `workbench bench views` runs inside a kernel: decoding with every view open, and with none, taking turns."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from typing import Any

from workbench.bench.overhead import DECODE, decode, taking_turns
from workbench.widgets import VIEWS
from workbench.widgets.feed import Feed

CONVERSATION = [{"role": "system", "content": "You name things."}, {"role": "user", "content": "Name a river."}]
OPTIONS: dict[str, dict[str, Any]] = {"template": {"messages": CONVERSATION}}
"""What a view must be told."""
ALONE = ("dashboard",)
"""Made of the others."""


def load(options_json: str) -> tuple[Any, dict[str, Any]]:
    """An engine and every view of it, by name."""
    import workbench

    engine = workbench.Engine(**json.loads(options_json))
    engine.generate(input_ids=DECODE.prompts(engine.get_server_info()["vocab_size"], -1), sampling_params={"max_new_tokens": 2})
    return engine, {name: engine.view(name, live=True, **OPTIONS.get(name, {})) for name in VIEWS if name not in ALONE}


def measure(engine: Any, views: dict[str, Any], rounds: int) -> str:
    """JSON: seconds of each round with the views open and without, and states sent per view and second."""
    feed = Feed.of(next(iter(views.values())).reader.source)
    sent: Counter[str] = Counter()
    for name, view in views.items():
        view.observe(lambda _, name=name: sent.update([name]), names="state")

    def opened(seed: int) -> float:
        for view in views.values():
            feed.add(view)
        try:
            return decode(engine, seed)
        finally:
            for view in views.values():
                feed.remove(view)

    def closed(seed: int) -> float:
        return decode(engine, seed)

    began, busy = time.perf_counter(), time.process_time()
    with_views, without = taking_turns([opened, closed], rounds)
    rates = {name: sent[name] / sum(with_views) * rounds / (rounds + 1) for name in views}
    facts = {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - busy}
    return json.dumps(
        {"open": with_views, "closed": without, "rates": rates, "step_s": statistics.median(without) / DECODE.new_tokens} | facts
    )
