"""Reads facts from an engine into the values that views draw. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from workbench.events import RequestArrived, RequestFinished, RequestScheduled, StepExecuted, TokenSampled
from workbench.html.parts import size
from workbench.views import Completion, EngineStatus, Process, Processes, Timings
from workbench.views.completion import MAX_MARKED
from workbench.views.kv.state import kept_as
from workbench.views.reads import DecodeReads
from workbench.views.tokens.state import output_of, token_pieces

WORKER = "workbench.process.main"
"""The module that a child process runs; its name on the command line identifies the workers."""


def completion(
    engine: Any, result: Mapping[str, Any], prompt: str, ids: Sequence[int], *, kind: Literal["completion", "chat"], since: int
) -> Completion:
    """Returns one result dict of the engine as a value for views.

    `ids` are the prompt's tokens, `since` is the number of events in the log before the call.
    """
    meta = result["meta_info"]
    output_ids = tuple(result["output_ids"])
    matched = meta["finish_reason"].get("matched") if meta["finish_reason"] else None
    drawable = len(ids) == meta["prompt_tokens"] <= MAX_MARKED and len(output_ids) <= MAX_MARKED
    decode = _decoder(engine.tokenizer)
    events = engine.log.read(since)[1]
    output = output_of(events, meta["id"])
    is_whole = output.ids == list(output_ids)

    def name(token_id: int) -> str:
        return decode([token_id])

    return Completion(
        text=result["text"],
        prompt=prompt,
        prompt_tokens=meta["prompt_tokens"],
        cached_tokens=meta["cached_tokens"],
        output_ids=output_ids,
        finish_reason=meta["finish_reason"] or {},
        rid=meta["id"],
        model=engine.server_args.model_path,
        kind=kind,
        prompt_pieces=token_pieces(decode, ids) if drawable else (),
        output_pieces=token_pieces(decode, output_ids) if drawable else (),
        stop_text=decode([matched]) if isinstance(matched, int) else "",
        kinds=tuple(token.kind for token in output.tokens) if is_whole else (),
        notes=tuple(token.words(name) for token in output.tokens) if is_whole and output.detail_s and drawable else (),
        detail_s=output.detail_s,
        timings=Timings.of(events, meta["id"]),
        meta_info=meta,
    )


def prompt_ids(tokenizer: Any, prompt: str | list[dict[str, str]]) -> list[int]:
    """Returns the tokens of a raw prompt, or of a conversation in the model's own template."""
    if tokenizer is None:
        return []
    if isinstance(prompt, str):
        return list(tokenizer.encode(prompt))
    return list(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False))


def engine_status(name: str, engine: Any, *, place: str, uptime_s: float) -> EngineStatus:
    """Returns the state of an engine. Counts prompt tokens over the requests whose end is still in the log."""
    info = engine.get_server_info()
    events, reads = engine.log.read()[1], DecodeReads(info)
    for event in events:
        if isinstance(event, StepExecuted):
            reads.add(event)
    ended = [event for event in events if isinstance(event, RequestFinished)]
    return EngineStatus(
        name=name,
        model=engine.server_args.model_path,
        device=info["device"],
        dtype=info["dtype"],
        place=place,
        uptime_s=uptime_s,
        weights=" ".join([size(info["weights_bytes"]), *filter(None, [info["quantization"]])]),
        kv=kept_as(info),
        kernels=info.get("kernels", ""),
        reads=reads.words(info.get("memory_bandwidth")),
        num_running=info["num_running"],
        num_waiting=info["num_waiting"],
        cached_tokens=sum(event.num_cached for event in ended),
        prompt_tokens=sum(event.num_prompt for event in ended),
    )


def unfinished(events: Iterable[Any]) -> list[str]:
    """Returns the ids of the requests that run or wait according to these events."""
    open_: dict[str, None] = {}
    for event in events:
        match event:
            case RequestArrived() | RequestScheduled() | TokenSampled():
                open_[event.rid] = None
            case RequestFinished():
                open_.pop(event.rid, None)
    return list(open_)


def processes(places: Mapping[str, bool]) -> Processes:
    """Returns this process, its workers, and workers of other sessions. `places`: engine name -> runs in a child process."""
    import psutil

    me = psutil.Process()
    here = tuple(name for name, in_child in places.items() if not in_child)
    rows = [_row(me, "this kernel", here)]
    mine = {child.pid for child in me.children(recursive=True)}
    for process in psutil.process_iter(["cmdline", "uids"]):
        words, uids = process.info["cmdline"] or [], process.info["uids"]
        if WORKER in words and (not hasattr(os, "getuid") or (uids is not None and uids.real == os.getuid())):
            kind = "worker of this kernel" if process.pid in mine else "worker of another session"
            engines = tuple(name for name, in_child in places.items() if in_child and process.pid in mine)
            with suppress(psutil.Error):  # it has ended meanwhile
                rows.append(_row(process, kind, engines))
    return Processes(tuple(rows))


def _row(process: Any, kind: str, engines: tuple[str, ...]) -> Process:
    with process.oneshot():
        return Process(process.pid, kind, engines, process.memory_info().rss, process.num_threads())


def _decoder(tokenizer: Any) -> Callable[[list[int]], str]:
    if tokenizer is None:
        return lambda ids: ""
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
