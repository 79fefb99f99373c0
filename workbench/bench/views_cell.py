"""What `workbench bench views` runs inside a kernel: decoding with every view open, and with none, taking turns."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import Any

from workbench.bench.overhead import DECODE, decode, taking_turns
from workbench.bench.views import ALONE, OPTIONS
from workbench.widgets import VIEWS
from workbench.widgets.feed import Feed
from workbench.widgets.tokens import OneRequest


def load(options_json: str) -> tuple[Any, dict[str, Any]]:
    """An engine and every view of it, by name."""
    import workbench

    engine = workbench.Engine(**json.loads(options_json))
    engine.generate(input_ids=DECODE.prompts(engine.get_server_info()["vocab_size"], -1), sampling_params={"max_new_tokens": 2})
    return engine, {name: engine.view(name, live=True, **OPTIONS.get(name, {})) for name in VIEWS if name not in ALONE}


def measure(engine: Any, views: dict[str, Any], rounds: int) -> str:
    """JSON: seconds of each round with no view, with all, and with all and token detail; states sent per view and second."""
    source = next(iter(views.values())).reader.source
    feed = Feed.of(source)
    sent: Counter[str] = Counter()
    for name, view in views.items():
        view.observe(lambda _, name=name: sent.update([name]), names="state")
        if isinstance(view, OneRequest):  # it switched token detail on, which is measured by itself
            source.need_detail(view._who, False)
        feed.remove(view)

    def opened(seed: int) -> float:
        for view in views.values():
            feed.add(view)
        try:
            return decode(engine, seed)
        finally:
            for view in views.values():
                feed.remove(view)

    def detailed(seed: int) -> float:
        with engine.token_detail():
            return opened(seed)

    without, with_views, with_detail = taking_turns([partial(decode, engine), opened, detailed], rounds)
    seconds = (sum(with_views) + sum(with_detail)) * (rounds + 1) / rounds  # the first round is counted, and not timed
    rates = {name: sent[name] / seconds for name in views}
    return json.dumps({"closed": without, "open": with_views, "detail": with_detail, "rates": rates})
