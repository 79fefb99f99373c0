"""The protocol of a running engine. A thread beside the caller and a child process both offer it.

`EngineCalls` is the one list of what can be called on an engine. Everything else is made from it: the calls that wait for the
engine's thread (`client.forward`) and the messages between processes (`process.messages`). To add a call, add a method
here and its implementation in `engine.calls.CoreCalls`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from workbench.cache.lookup import Lookup
from workbench.client.answers import EngineInfo, Load, Snapshot, WeightsInfo
from workbench.client.stream import Stream
from workbench.events import EventLog
from workbench.types import EncodeRequest, HiddenRows, Request


class EngineCalls(Protocol):
    """The calls on an engine. Each is answered between two steps, and raises `EngineDead` when the engine has ended.

    Arguments and results have types that msgpack carries.
    """

    def info(self) -> EngineInfo:
        """Returns the facts that never change."""

    def now(self) -> float:
        """Returns the engine's clock in seconds, the clock of its events' `time`."""

    def get_load(self) -> Load:
        """Returns how many requests run and wait, and the use of memory."""

    def snapshot(self) -> Snapshot:
        """Returns the present state as events, and logs that it was taken."""

    def match_prefix(self, token_ids: Sequence[int], namespace: str = "") -> Lookup:
        """Returns how much of this prompt the cache would reuse now, and why no more. Changes nothing."""

    def encode(self, texts: list[EncodeRequest]) -> HiddenRows:
        """Returns one vector for each text. Raises `NotSupported` for an engine that makes text."""

    def flush_cache(self) -> int:
        """Drops every cached prefix that no request uses. Returns the number of tokens dropped."""

    def token_detail(self, on: bool) -> None:
        """Switches the recording of token detail (`TokenSampled.detail`) on or off; without an event log it stays off."""

    def pause_generation(self) -> None:
        """Stops planning after the present step. Requests keep their pages and new ones are queued; aborts and timeouts
        still end them. A second pause changes nothing."""

    def continue_generation(self) -> None:
        """Goes on after `pause_generation`; without a pause it changes nothing."""

    def weights(self) -> WeightsInfo:
        """Returns the source, type and size of the weights."""

    def update_weights_from_disk(self, model_path: str, load_format: str | None = None) -> WeightsInfo:
        """Replaces the weights by those of another checkpoint of the same configuration. All K/V is dropped: running requests
        go on with the new weights.

        `load_format` None reads what the checkpoint has. Raises, with no change, for a checkpoint that does not fit.
        """

    def update_weights_from_tensor(self, tensors: bytes) -> WeightsInfo:
        """Replaces some of the weights by tensors of the same names, in the format of safetensors. All K/V is dropped.

        Raises, with no change, for tensors that do not fit.
        """

    def measure_bandwidth(self) -> float:
        """Reads memory for 0.2 s, in which the engine computes nothing; returns the bytes per second. Logs the result."""

    def start_profile(self, folder: str) -> None:
        """Starts to record what torch computes, for a trace in `folder`. Raises `InvalidRequest` if it records already."""

    def stop_profile(self) -> str:
        """Ends `start_profile`; returns the file of the trace. Raises `InvalidRequest` if nothing is recorded."""


class EngineClient(Protocol):
    """A running engine as its users hold it. Any thread may use it."""

    log: EventLog
    """The events of the engine, in order. Programs write theirs to it too."""

    @property
    def engine(self) -> EngineCalls:
        """The calls that wait for their answer."""

    def submit(self, requests: Sequence[Request]) -> list[Stream]:
        """Queues requests and returns one stream for each. Raises for the first that can never be served; none is queued then."""

    def abort(self, rid: str, message: str = "aborted by the caller") -> None:
        """Ends a request, or all samples of a group, soon; their streams end with finish type "abort". Returns at once.

        Ignores ids that are not in use.
        """

    @property
    def ended(self) -> str:
        """The reason why the engine has ended; empty while it lives."""

    def close(self) -> None:
        """Ends the engine; open requests end with `EngineDead`. Returns when its threads, processes and memory are gone."""


def calls_of(protocol: type) -> dict[str, Callable[..., Any]]:
    """Returns the public methods that a protocol declares or inherits, by name."""
    names = (name for name in dir(protocol) if not name.startswith("_"))
    return {name: method for name in names if callable(method := getattr(protocol, name))}
