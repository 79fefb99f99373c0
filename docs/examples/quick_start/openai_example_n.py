"""Several answers to one question. Needs OPENAI_API_KEY and the extra `openai`."""

from __future__ import annotations

import workbench as sgl


@sgl.function
def names(s, thing):
    s += sgl.user(f"A name for {thing}, in one word?")
    s += sgl.assistant(sgl.gen("name", max_tokens=8, n=3))


if __name__ == "__main__":
    sgl.set_default_backend(sgl.OpenAI("gpt-4o-mini"))
    state = names(thing="a lighthouse")
    for i, name in enumerate(state["name"]):
        print(i, name)
