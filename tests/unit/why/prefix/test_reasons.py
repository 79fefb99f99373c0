"""Every reason why the cache had no more of a prompt has words, and both answers use the same."""

from __future__ import annotations

from typing import get_args

import pytest

from workbench.events import MatchReason, PrefixMatched
from workbench.testing import events_of, make_core, make_request, run_to_end
from workbench.text.readable import no_text
from workbench.why.prefix.answer import CacheAnswer
from workbench.why.prefix.reasons import why_no_more
from workbench.why.request.explanation import explain

REASONS = get_args(MatchReason)


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_but_a_whole_prompt_has_words_of_its_own(reason: MatchReason) -> None:
    words = {each: why_no_more(each, 4, evicted_ago=2.0, elsewhere=3, stored="a", asked="b") for each in REASONS}
    assert bool(words[reason]) == (reason != "whole prompt")
    assert list(words.values()).count(words[reason]) == 1


def test_numbers_and_texts_of_a_reason_are_in_its_words() -> None:
    assert why_no_more("evicted", 4, evicted_ago=75.0) == "the rest was evicted 1 min 15 s ago"
    assert why_no_more("other namespace", 0, elsewhere=1).startswith("1 token would match")
    assert why_no_more("diverged", 4, stored="a", asked="b") == "then the stored text goes on with 'a', this prompt with 'b'"
    assert why_no_more("diverged", 0, stored="a", asked="b").startswith("at the very first token the stored text goes on")
    assert (why_no_more("nothing stored", 0), why_no_more("nothing stored", 4)) == (
        "nothing is stored yet", "the rest is not stored",
    )  # fmt: skip


def test_the_answer_before_and_the_explanation_after_give_the_same_reason() -> None:
    """Prompts that meet each reason in turn, in one engine with pages of four tokens."""
    core = make_core(page_size=4, num_pages=40, context_length=150)
    prompts = [range(40), range(40), [*range(20), 99, 98, 97, 96], [*range(22), 95, 94, 93], range(100, 240), range(40)]
    seen = set()
    for i, prompt in enumerate(map(tuple, prompts)):
        lookup = core.cache.explain(prompt, "")
        found = {name: getattr(lookup, name) for name in lookup.__slots__}
        core.add(make_request(f"r{i}", prompt, 1))
        run_to_end(core)
        (matched,) = events_of(core, PrefixMatched, f"r{i}")
        seen.add(matched.reason)
        assert (matched.reason, matched.num_cached) == (lookup.reason, lookup.num_cached)
        sentence = CacheAnswer(found, prompt, no_text).sentence
        assert sentence.startswith(f"{matched.num_cached} of {len(prompt)} tokens would be reused: ")
        if matched.reason not in ("whole prompt", "diverged", "evicted"):  # these name texts and times
            assert why_no_more(matched.reason, matched.num_cached) in sentence
            assert why_no_more(matched.reason, matched.num_cached) in explain(core.log, f"r{i}", 0.0).sentence
    assert seen == {"nothing stored", "whole prompt", "diverged", "below page size", "evicted"}
