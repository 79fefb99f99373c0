"""`Engine`: a language model to call from Python, in this process or in a child process, without a server.

Results are the dicts of the reference's native API. The engine runs on a thread of its own, so it works in scripts, in
notebooks and under a running event loop.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack

from workbench.api.encoding import Encoding
from workbench.api.handle import Handle
from workbench.api.inspected import Inspected
from workbench.api.options import SERVER_DEFAULTS
from workbench.api.text import TextEngine
from workbench.client.answers import WeightsInfo
from workbench.config import DEFAULT_MODEL, ServerArgs, ServerOptions, profile_folder
from workbench.errors import InvalidRequest
from workbench.hub.progress import Progress
from workbench.lang.default import engine_opened
from workbench.launch.start import start_engine
from workbench.signature import takes

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.lang.backends.engine import EngineBackend


class TokenizerManager:
    """The place of the Hugging Face tokenizer in programs of the reference: `engine.tokenizer_manager.tokenizer`."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer; None with `skip_tokenizer_init`."""
        return self._handle.hf_tokenizer


class Engine(TextEngine, Inspected):
    """A loaded language model.

    Keywords are the settings of `workbench.ServerArgs`, which describes each. `process=True` runs the engine in a child
    process. `progress(what, done, total)` is called while the model loads; `total` is 0 if it is not known.
    Raises ModelNotFound, ModelCorrupt, UnknownParameter, InvalidRequest or NotSupported; the hint of each is the next step.

    >>> with workbench.Engine() as engine:
    ...     engine.generate("The capital of France is", max_new_tokens=8, temperature=0)["text"]
    """

    @takes(ServerOptions, SERVER_DEFAULTS)
    def __init__(
        self, model_path: str | os.PathLike[str] = DEFAULT_MODEL, *, process: bool = False, progress: Progress | None = None,
        **server_args: Unpack[ServerOptions],
    ) -> None:  # fmt: skip
        self.server_args = ServerArgs.make(model_path=model_path, **server_args)
        if process:
            from workbench.process.client import open_process

            opened = open_process(self.server_args, progress)
        else:
            opened = start_engine(self.server_args, progress)
        super().__init__(Handle(opened, self.server_args))
        self._encoding = Encoding(self._handle)
        self.tokenizer_manager = TokenizerManager(self._handle)
        engine_opened(self)

    def encode(
        self, prompt: str | Sequence[str] | None = None, input_ids: Any = None, pairs: Sequence[tuple[str, str]] | None = None
    ) -> Any:
        """Returns the embedding of a text as a dict with `embedding` and `meta_info`; a list of them for several texts.

        `input_ids`, in the place of `prompt`, are token ids; `pairs` are texts that a cross-encoder reads two by two. With a
        classification head, `embedding` has its scores.
        Raises NotSupported for an engine without `is_embedding`, PromptTooLong, InvalidRequest, EngineDead.
        """
        return self._encoding.results(prompt, input_ids, pairs)

    def abort(self, rid: str) -> None:
        """Ends the request with this id, or all its samples if `n` is above 1. Its memory is free within one step.

        Ids of requests that are not running are ignored.
        """
        self._generation.abort(rid)

    def open_session(self, capacity_of_str_len: int = 0, session_id: str | None = None) -> str:
        """Opens a session and returns its id. `generate(..., session_params={"id": id, "rid": rid})` continues its turn `rid`.

        `capacity_of_str_len` is the number of characters that it is expected to hold, and limits nothing. Raises InvalidRequest
        for an id that is in use, QueueFull.
        """
        return self._generation.sessions.open(capacity_of_str_len, session_id)

    def close_session(self, session_id: str) -> None:
        """Drops a session; its running requests go on. Raises InvalidRequest for one that is not open."""
        self._generation.sessions.close(session_id)

    # -- life ---------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """True until `shutdown` is called."""
        return self._handle.is_open

    def flush_cache(self) -> int:
        """Drops every cached prefix that no request uses; returns the number of tokens dropped.

        Raises EngineDead once the engine has ended.
        """
        return self._handle.client.engine.flush_cache()

    def update_weights_from_disk(self, model_path: str | os.PathLike[str], load_format: str | None = None) -> WeightsInfo:
        """Replaces the weights by those of another checkpoint, empties the cache, and returns their source and size.

        Running requests go on with the new weights.

        The checkpoint must have the configuration of the running model; it is read whole before the present weights leave,
        so both need memory for that time. `load_format` None reads what the checkpoint has. Raises ModelNotFound,
        ModelUnsupported, ModelCorrupt, InvalidRequest for another configuration, EngineDead. The old weights then stay.
        """
        return self._handle.update_weights(os.fspath(model_path), load_format)

    def update_weights_from_tensor(self, named_tensors: Mapping[str, Tensor] | Sequence[tuple[str, Tensor]]) -> WeightsInfo:
        """Replaces some or all weights by tensors, empties the cache, and returns the source and size of the weights.

        The names are those of the model's own safetensors, others keep their values. The engine must have been opened on a
        folder; the tensors stay in memory beside the weights until `update_weights_from_disk`. Raises ModelUnsupported for an
        unknown name, ModelCorrupt for another shape, InvalidRequest, NotSupported. The old weights then stay.
        """
        from safetensors.torch import save

        whole = {name: tensor.detach().contiguous().clone().cpu() for name, tensor in dict(named_tensors).items()}
        if not whole:
            raise InvalidRequest("named_tensors", {}, "at least one tensor by its name")
        return self._handle.update_tensors(save(whole))

    def start_profile(self) -> None:
        """Starts to record what torch computes, for a trace in the folder WORKBENCH_TORCH_PROFILER_DIR.

        Raises InvalidRequest if that is not set, or if a profile is being recorded; EngineDead once the engine has ended.
        """
        self._handle.client.engine.start_profile(profile_folder())

    def stop_profile(self) -> str:
        """Ends `start_profile`; returns the file of the trace, for ui.perfetto.dev or chrome://tracing.

        Raises InvalidRequest if no profile is being recorded, EngineDead once the engine has ended.
        """
        return self._handle.client.engine.stop_profile()

    def pause_generation(self) -> None:
        """Stops computing after the present step. Requests keep their memory and new ones wait until `continue_generation`.

        Raises EngineDead once the engine has ended.
        """
        self._handle.client.engine.pause_generation()

    def continue_generation(self) -> None:
        """Computes again after `pause_generation`; without a pause it changes nothing.

        Raises EngineDead once the engine has ended.
        """
        self._handle.client.engine.continue_generation()

    def shutdown(self) -> None:
        """Ends the engine: when this returns, its thread or process is gone and its memory is free. May be called twice.

        Open requests raise EngineDead. An engine without references ends too, a moment later.
        """
        self._handle.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


class Runtime(Engine):
    """The engine under the name that programs of the reference use. The last one opened is their default backend."""

    @cached_property
    def endpoint(self) -> EngineBackend:
        """The backend that runs programs on this engine; its `chat_template` may be set."""
        from workbench.lang.backends.engine import EngineBackend

        return EngineBackend(self)

    def get_tokenizer(self) -> Any:
        """Returns the Hugging Face tokenizer; None with `skip_tokenizer_init`."""
        return self.tokenizer

    def cache_prefix(self, prefix: str) -> None:
        """Computes a text that later prompts begin with, so that the cache has it. Raises what `generate` raises."""
        self.generate(prefix, max_new_tokens=0)
