"""An engine without a model for the notebook tests: a byte tokenizer, a scripted answer, a prefix cache, real events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import count, takewhile
from typing import Any

from workbench.config import ServerArgs
from workbench.errors import EngineDead
from workbench.events import EventLog, RequestArrived, RequestFinished, RequestScheduled, TokenSampled
from workbench.testing import ByteTokenizer
from workbench.types import SamplingParams

END = ByteTokenizer.end_id


class Explanation:
    def __init__(self, rid: str) -> None:
        self.sentence = f"request {rid} waited for nobody"

    def __str__(self) -> str:
        return self.sentence

    __repr__ = __str__


class FakeEngine:
    """Answers every prompt with `answer`, one byte per step, until `max_new_tokens`."""

    answer = "Grüße ✓"
    started: int = 0
    """Number of engines opened so far."""

    def __init__(self, model_path: str = "smollm2-135m", *, process: bool = False, **server_args: Any) -> None:
        type(self).started += 1
        self.server_args = ServerArgs.make(model_path=model_path, **server_args)
        self.tokenizer, self.log = ByteTokenizer(), EventLog()
        self.alive, self.aborted = True, []
        self.calls: list[tuple[Any, SamplingParams]] = []
        self._seen: list[list[int]] = []
        self._clock, self._rids = count(), count()
        self.interrupt_after: int | None = None
        self.num_detailed = 0
        self.bandwidth: float | None = None

    def token_detail(self, on: bool = True) -> AbstractContextManager[None]:
        self.num_detailed += 1
        return nullcontext()

    def generate(self, prompt: str, sampling_params: dict | None = None, *, stream: bool) -> Iterator[dict[str, Any]]:
        return self._stream(self.tokenizer.encode(prompt), prompt, SamplingParams.make(sampling_params))

    def chat(self, messages: list[dict], sampling_params: dict | None = None, *, stream: bool) -> Iterator[dict[str, Any]]:
        ids = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        return self._stream(ids, messages, SamplingParams.make(sampling_params))

    def _stream(self, ids: list[int], asked: Any, params: SamplingParams) -> Iterator[dict[str, Any]]:
        rid = f"r{next(self._rids)}"
        self.calls.append((asked, params))
        cached = min(len(ids) - 1, max((common(ids, seen) for seen in self._seen), default=0))
        add = self.log.add
        add(RequestArrived(time=next(self._clock), rid=rid, num_prompt=len(ids), max_new_tokens=params.max_new_tokens))
        add(RequestScheduled(time=next(self._clock), rid=rid, num_cached=cached, num_pending=len(ids) - cached))
        answer = self.tokenizer.encode(self.answer)
        done = len(answer) < params.max_new_tokens
        output = ([*answer, END] if done else answer)[: params.max_new_tokens]
        finish = {"type": "stop", "matched": END} if done else {"type": "length", "length": params.max_new_tokens}
        for n in range(1, len(output) + 1):
            add(TokenSampled(time=next(self._clock), rid=rid, token_id=output[n - 1], position=n - 1))
            last = n == len(output)
            if last:
                sizes = {"num_prompt": len(ids), "num_cached": cached, "num_output": n}
                add(RequestFinished(time=next(self._clock), rid=rid, reason=finish["type"], detail="", **sizes))
                self._seen.append(ids + output)
            meta = {"id": rid, "prompt_tokens": len(ids), "completion_tokens": n, "cached_tokens": cached}
            try:
                yield {
                    "text": self.tokenizer.decode(output[:n]).rstrip("\ufffd"),
                    "output_ids": output[:n],
                    "meta_info": {**meta, "finish_reason": finish if last else None},
                }
                if n == self.interrupt_after:
                    raise KeyboardInterrupt
            except (GeneratorExit, KeyboardInterrupt):
                self.aborted.append(rid)
                raise

    def explain(self, rid: str) -> Explanation:
        return Explanation(rid)

    def why(self, rid: str, token: int | str, step: int | None = None) -> str:
        return f"{token!r} at step {step} of {rid}"

    def memory(self) -> dict[str, Any]:
        return {
            "weights_bytes": 269 << 20, "kv_cache_dtype": "float32", "kv_bytes_per_token": 46080, "kv_capacity_tokens": 4096,
            "kv_capacity_bytes": 4096 * 46080, "kv_touched_bytes": 96 * 46080, "tokens_free": 4000, "tokens_tree": 80,
            "tokens_running": 16, "process_rss_bytes": 700 << 20, "available_bytes": 9 << 30,
            "max_concurrency": {256: 16, 1024: 4, 4096: 1},
        }  # fmt: skip

    def get_server_info(self) -> dict[str, Any]:
        if not self.alive:
            raise EngineDead("the engine was shut down")
        return {
            "device": "cpu",
            "dtype": "float32",
            "num_running": 0,
            "num_waiting": 0,
            "weights_bytes": 2**20,
            "decode_weights_bytes": 2**20,
            "kv_bytes_per_token": 1024,
            "quantization": None,
            "memory_bandwidth": self.bandwidth,
            "kv_cache_dtype": "float32",
        }

    def abort(self, rid: str) -> None:
        self.aborted.append(rid)

    def measure_bandwidth(self) -> float:
        self.bandwidth = 16.0 * 2**30
        return self.bandwidth

    def flush_cache(self) -> int:
        dropped, self._seen = sum(map(len, self._seen)), []
        return dropped

    def shutdown(self) -> None:
        self.alive = False


def open_fake_engine(args: ServerArgs, *, process: bool, progress: Any) -> FakeEngine:
    for done in range(0, 101, 10):
        if progress is not None:
            progress("fetching <b>model</b>.whl", done << 20, 100 << 20)
    if progress is not None:
        progress("reading the weights", 0, 0)
    return FakeEngine(process=process, **args.to_dict())


def common(a: list[int], b: list[int]) -> int:
    """Returns the number of tokens with which both lists begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
