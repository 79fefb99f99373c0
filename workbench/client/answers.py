"""Answers of an engine to the calls of `client.protocol`: values that msgpack carries between processes."""

from __future__ import annotations

import msgspec

from workbench.events import AnyEvent, SnapshotTaken


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of an engine that never change: the values that "auto" was settled to, and the sizes of its memory."""

    device: str
    dtype: str
    kv_cache_dtype: str
    """Type in which keys and values are kept."""
    architecture: str
    """The class of the model."""
    attention_backend: str
    num_threads: int
    context_length: int
    vocab_size: int
    max_total_num_tokens: int
    """Tokens that the K/V store holds."""
    max_running_requests: int
    chunked_prefill_size: int
    """-1: prompts are not cut."""
    random_seed: int
    weights_bytes: int
    kv_bytes_per_token: int
    """Bytes of one token's keys and values in all layers, with their scales."""
    load_s: float
    """Seconds from the call that loaded the engine until it was ready."""
    num_labels: int = 0
    """Scores of the model's classification head; 0 is none."""
    decode_weights_bytes: int = 0
    """Bytes of the weights that a decode step reads: all, or all but an embedding that is no head. 0: the model makes no text."""
    kv_window: int = 0
    """Tokens that layers with a sliding window see; 0 where no layer has one."""
    kv_window_bytes_per_token: int = 0
    """The part of `kv_bytes_per_token` that belongs to layers with a sliding window."""
    overlap_schedule: bool = False
    """True: a decode step is planned, and the one before it committed, while another is computed."""
    quantization: str | None = None
    """Method or scheme whose blocks are multiplied: "gguf", "awq", "int8wo" and others. "dequant": quantised weights that are
    dense here. None: the weights are dense."""
    picture_memory_bytes: int = 0
    """Most bytes of what the model makes of pictures: vectors, or keys and values in layers of cross attention; 0 for one that
    sees none."""


class WeightsInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The weights that an engine computes with."""

    model_path: str
    load_format: str
    architecture: str
    dtype: str
    num_bytes: int
    decode_bytes: int = 0
    """The part that a decode step reads."""
    quantization: str | None = None
    """As in `EngineInfo`."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """The load of an engine between two steps: its requests, and its memory in tokens and bytes."""

    num_running: int
    num_compiling: int
    num_waiting: int
    """Requests in the queue, those that wait for their constraint included."""
    is_paused: bool
    """Generation is paused: requests are queued, and none is computed."""
    new_token_ratio: float
    num_retractions: int
    tokens_free: int
    tokens_tree: int
    tokens_running: int
    kernels: str
    kv_touched_tokens: int
    """Tokens of the K/V store that have been written at least once."""
    process_rss_bytes: int
    available_bytes: int
    """Free memory of the engine's machine."""
    picture_bytes: int = 0
    """Bytes in use of `EngineInfo.picture_memory_bytes`."""
    memory_bandwidth: float | None = None
    """Bytes per second, as `measure_bandwidth` found last; None before that."""


class News(msgspec.Struct, frozen=True):
    """The new events of a log that another process follows."""

    events: list[AnyEvent]
    num_lost: int = 0
    """Events before these that the follower does not get: it begins again from a snapshot."""
    ended: str = ""
    """The reason why the engine has ended; empty while it lives."""


class Snapshot(msgspec.Struct, frozen=True):
    """The present state of an engine as events."""

    events: list[AnyEvent]
    """Events that bring an empty fold to the present state. The last is a `SnapshotTaken`, which is in the log too:
    `log.number_after(snapshot.taken)` is the number of the first event that the state does not include."""

    @property
    def taken(self) -> SnapshotTaken:
        last = self.events[-1]
        assert isinstance(last, SnapshotTaken)
        return last
