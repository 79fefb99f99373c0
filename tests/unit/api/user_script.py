"""A user's script for the type checker: lines that are right, and lines whose comment names the error (`test_typing.py`)."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

from pydantic import BaseModel

import workbench
from workbench import Completion


class City(BaseModel):
    name: str


engine = workbench.Engine("smollm2-135m", page_size=16, dtype="float32", process=True)
names: list[str] = ["Rome", "Oslo"]
talk = [{"role": "user", "content": "Hello"}]

# One prompt, several, several samples, a stream.
assert_type(engine.generate("Once", temperature=0, max_new_tokens=8, stop=["."]), Completion)
assert_type(engine.generate("Once", {"temperature": 0.8, "top_p": 0.95}), Completion)
assert_type(engine.generate(names, workbench.SamplingParams(n=1), rid=names, return_logprob=[True, None]), list[Completion])
assert_type(engine.generate(input_ids=[1, 2]), Completion)
assert_type(engine.generate(input_ids=[[1, 2], [3]]), list[Completion])
assert_type(engine.generate("Once", n=3), list[Completion])
assert_type(engine.generate("Once", n=1), Completion)
assert_type(engine.generate(names, n=3), list[list[Completion]])
assert_type(engine.generate("Once", stream=True), Iterator[Completion])
assert_type(engine.chat(talk, temperature=0), Completion)
assert_type(engine.chat(talk, stream=True), Iterator[Completion])
assert_type(engine.generate_json("Where?", City), City)
assert_type(engine.generate_json(names, City, max_new_tokens=50), list[City])
assert_type(engine.generate_json("Where?", {"type": "object"}), Any)
engine.generate("Once", stream=len(names) > 1)
engine.generate("Once", json_schema=City)


async def main() -> None:
    assert_type(await engine.async_generate("Once"), Completion)
    assert_type(await engine.async_generate(names), list[Completion])
    assert_type(await engine.async_generate("Once", stream=True), AsyncIterator[Completion])
    assert_type(await engine.async_chat(talk), Completion)


# Results.
result = engine.generate("Once", regex="[a-z]+")
assert_type(result["text"], str)
assert_type(result["meta_info"]["completion_tokens"], int)
assert_type(engine.explain("r").sentence, str)
assert_type(engine.memory()["max_concurrency"], dict[int, int])
assert_type(engine.server_args.page_size, int)
assert_type(engine.cache.search("Rome"), list[int])
engine.view("batch", steps=10)
engine.grammar(regex="[a-z]+").why("x")

# Mistakes.
engine.generate("Once", temprature=1)  # error: Unexpected keyword argument "temprature"
engine.generate("Once", temperature="hot")  # error: No overload variant of "generate"
engine.generate(5)  # error: No overload variant of "generate"
result["txt"]  # error: TypedDict "Completion" has no key "txt"
result["meta_info"]["tokens"]  # error: TypedDict "MetaInfo" has no key "tokens"
for chunk in engine.generate("Once", stream=True):
    chunk.text  # error: "Completion" has no attribute "text"
engine.chat("Hello")  # error: Argument 1 to "chat" of
workbench.Engine(pagesize=16)  # error: Unexpected keyword argument "pagesize" for "Engine"; did you mean "page_size"?
workbench.Engine(dtype="float8")  # error: Argument "dtype" to "Engine" has incompatible type
workbench.ServerArgs.make(chunk=8)  # error: Unexpected keyword argument "chunk"
workbench.SamplingParams(top_q=1)  # error: Unexpected keyword argument "top_q"
engine.view("trees")  # error: Argument 1 to "view" of "Inspected" has incompatible type
engine.view("batch", stps=3)  # error: Unexpected keyword argument "stps" for "view" of "Inspected"
engine.grammar(rgex="")  # error: Unexpected keyword argument "rgex"
engine.why("r", "x", step="last")  # error: Argument "step" to "why" of "Inspected" has incompatible type
workbench.Engin  # error: Module has no attribute "Engin"
