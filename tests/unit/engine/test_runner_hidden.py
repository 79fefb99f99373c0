"""Hidden states come once for every computed token, in order, whatever chunks, retractions and the cache do."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.standins.random_runs import CONFIGS, CONTEXT, TRUNK, open_core
from workbench.types import Request, SamplingParams


@settings(max_examples=80)
@given(
    config=CONFIGS,
    asked=st.lists(st.tuples(st.integers(1, 24), st.integers(0, 2), st.integers(0, 30), st.booleans()), min_size=2, max_size=8),
    scored=st.booleans(),
)
def test_every_computed_token_is_shown_once_and_in_order(config, asked, scored):
    core = open_core({**config, "num_tokens": min(config["num_tokens"], 72), "schedule_conservativeness": 0.02})
    tokens, shown = {}, {}
    for i, (shared, own, num_new, wanted) in enumerate(asked):
        prompt = (*TRUNK[:shared], own)
        params = SamplingParams(max_new_tokens=min(num_new, CONTEXT - len(prompt)), ignore_eos=True)
        start = 0 if scored else -1
        core.add(Request(rid=f"r{i}", input_ids=prompt, params=params, return_hidden_states=wanted, return_logprob=scored,
                         logprob_start_len=start))  # fmt: skip
        tokens[f"r{i}"], shown[f"r{i}"] = [*prompt], []
    while core.has_work:
        for out in core.step():
            tokens[out.rid] += out.token_ids
            for rows in out.hidden:
                shown[out.rid] += np.frombuffer(rows.data, np.float32).reshape(-1, rows.width).tolist()
    for i, (*_, num_new, wanted) in enumerate(asked):
        ids = tokens[f"r{i}"]
        computed = ids[:-1] if num_new else ids
        assert shown[f"r{i}"] == ([[token, position] for position, token in enumerate(computed)] if wanted else [])
