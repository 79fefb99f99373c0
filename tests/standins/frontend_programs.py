"""Programs of the frontend language that run with the reference's package and with this one: `python THIS MODULE URL`.

Prints what they made, as JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from types import ModuleType
from typing import Any

WORLD = ["Paris is the capital of France.", "Berlin is the capital of Germany.", "Madrid is the capital of Spain."]


def run(sgl: ModuleType, url: str) -> dict[str, Any]:
    """Returns the results of all programs on the server at `url`."""
    backend = sgl.RuntimeEndpoint(url)
    sgl.set_default_backend(backend)
    programs = (generated, chosen, constrained, forked, encoded, streamed, conversed, batched, scored, cached)
    return {program.__name__: program(sgl, backend) for program in programs}


def generated(sgl: ModuleType, backend: Any) -> Any:
    @sgl.function
    def story(s, place):
        s += f"The capital of {place} is" + sgl.gen("city", max_tokens=8, temperature=0, stop=[".", "\n"])
        s += ". It is known for" + sgl.gen("fame", max_tokens=12, temperature=0)

    state = story.run(place="France")
    return [state["city"], state["fame"], state.text(), state.get_meta_info("city")["completion_tokens"]]


def chosen(sgl: ModuleType, backend: Any) -> Any:
    methods = ("token_length_normalized", "greedy_token_selection", "unconditional_likelihood_normalized")

    @sgl.function
    def select(s, choices, method):
        s += "The capital of France is" + sgl.select("city", choices=choices, choices_method=getattr(sgl, method))

    named = [" Berlin", " Paris", " a nice cup of tea"]
    made = [select.run(choices=named, method=method)["city"] for method in methods]
    return [*made, select.run(choices=[" one", " one more"], method=methods[0])["city"]]


def constrained(sgl: ModuleType, backend: Any) -> Any:
    @sgl.function
    def forms(s):
        s += "Q: What is the IP address of the Google DNS servers?\nA: "
        s += sgl.gen("address", max_tokens=20, temperature=0, regex=r"((25[0-5]|1?\d\d?)\.){3}(25[0-5]|1?\d\d?)")
        s += "\nQ: What is the number of days in a week?\nA: " + sgl.gen_int("days", max_tokens=6, temperature=0)
        s += "\nQ: Is that more than six?\nA: " + sgl.gen("more", max_tokens=4, temperature=0, dtype=bool)
        s += "\nQ: Name a day.\nA: " + sgl.gen("day", max_tokens=6, temperature=0, choices=["Monday", "Sunday"])

    state = forms.run()
    return [state[name] for name in ("address", "days", "more", "day")]


def forked(sgl: ModuleType, backend: Any) -> Any:
    @sgl.function
    def tips(s):
        s += "Two tips for a good life.\n"
        forks = s.fork(2)
        for i, fork in enumerate(forks):
            fork += f"Tip {i + 1}: " + sgl.gen("tip", max_tokens=10, temperature=0, stop="\n")
        s += "First: " + forks[0]["tip"] + "\nSecond: " + forks[1]["tip"] + "\nIn short,"
        s += sgl.gen("short", max_tokens=10, temperature=0)

    state = tips.run()
    return [state["short"], state.text()]


def encoded(sgl: ModuleType, backend: Any) -> Any:
    """Contexts are encoded side by side and joined."""

    @sgl.function
    def answer(s, question):
        s += "Read these facts.\n"
        forks = s.fork(3)
        forks += lambda i: f"Fact {i}: {WORLD[i]}\n"
        forks.join(mode="concate_and_append")
        s += f"Q: {question}\nA:" + sgl.gen("answer", max_tokens=8, temperature=0, stop="\n")

    return answer.run(question="What is the capital of Germany?")["answer"]


def streamed(sgl: ModuleType, backend: Any) -> Any:
    @sgl.function
    def count(s):
        s += "One, two," + sgl.gen("rest", max_tokens=16, temperature=0)

    state = count.run(stream=True)
    whole = "".join(state.text_iter())
    part = "".join(count.run(stream=True).text_iter("rest"))
    return [whole, part, asyncio.run(_read(count.run(stream=True)))]


async def _read(state: Any) -> str:
    return "".join([piece async for piece in state.text_async_iter("rest")])


def conversed(sgl: ModuleType, backend: Any) -> Any:
    backend.chat_template = sgl.lang.chat_template.get_chat_template("chatml")

    @sgl.function
    def talk(s):
        s += sgl.system("You are brief.")
        s += sgl.user("Name a colour.")
        s += sgl.assistant(sgl.gen("first", max_tokens=8, temperature=0))
        with s.user():
            s += "Another one."
        s += sgl.assistant_begin() + sgl.gen("second", max_tokens=8, temperature=0) + sgl.assistant_end()

    state = talk.run()
    return [state["first"], state["second"], state.text()]


def batched(sgl: ModuleType, backend: Any) -> Any:
    @sgl.function
    def capital(s, place):
        s += f"{WORLD[0]}\n{WORLD[1]}\nThe capital of {place} is" + sgl.gen("city", max_tokens=6, temperature=0)

    states = capital.run_batch([{"place": place} for place in ("Italy", "Japan", "Peru", "Kenya")], num_threads=4)
    return [state["city"] for state in states]


def scored(sgl: ModuleType, backend: Any) -> Any:
    """Returns log-probabilities by position: ids, texts, and rounded numbers."""

    @sgl.function
    def story(s):
        s += "The sky is" + sgl.gen(
            "colour", max_tokens=3, temperature=0, return_logprob=True, logprob_start_len=0, top_logprobs_num=2,
            return_text_in_logprobs=True,
        )  # fmt: skip

    meta = story.run().get_meta_info("colour")
    names = ("input_token_logprobs", "output_token_logprobs")
    entries = [entry for name in names for entry in meta[name]]
    rounded = [[None if logprob is None else round(logprob, 2), token, text] for logprob, token, text in entries]
    return [rounded, [len(top or ()) for top in meta["output_top_logprobs"]]]


def cached(sgl: ModuleType, backend: Any) -> Any:
    """Flushes the cache, computes a prefix ahead, and reads the server's settings."""
    sgl.flush_cache()
    backend.cache_prefix(" ".join(WORLD))
    info = sgl.get_server_info()

    @sgl.function
    def story(s):
        s += " ".join(WORLD) + " Rome is" + sgl.gen("rest", max_tokens=4, temperature=0)

    meta = story.run().get_meta_info("rest")
    return [meta["cached_tokens"] > 10, info["max_total_num_tokens"], backend.get_model_name()]


if __name__ == "__main__":
    module = importlib.import_module(sys.argv[1])
    importlib.import_module(f"{sys.argv[1]}.lang.chat_template")
    print(json.dumps(run(module, sys.argv[2])))
