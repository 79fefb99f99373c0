"""`Handle`: a running engine as this process holds it."""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from workbench.checkpoint.files import read_config
from workbench.client.answers import WeightsInfo
from workbench.client.closed import Closed
from workbench.client.opened import Opened
from workbench.client.protocol import EngineClient
from workbench.config import ServerArgs
from workbench.errors import NotSupported, WorkbenchError
from workbench.events import EventLog
from workbench.hub.find import resolve
from workbench.model.registry import FAMILIES
from workbench.native.call import CALL
from workbench.native.media import Shown, media_options
from workbench.native.prompts import Prompt, Rendered
from workbench.pictures.eyes import Eyes
from workbench.pictures.open import open_sight
from workbench.pictures.reader import Reader
from workbench.text import chat
from workbench.text.parts import fitted, has_media, take_media
from workbench.text.tokenizer import Tokenizer
from workbench.types import SeenPrompt


class Handle:
    """The client of an engine, its tokenizer, and the values that were resolved when it was opened.

    An engine ends a moment after the last reference to its handle.
    """

    def __init__(self, opened: Opened, args: ServerArgs) -> None:
        self.client: EngineClient = opened.client
        """The client. After `close` every call raises EngineDead, but the event log stays."""
        self.args = args
        self.info = opened.info
        self.log: EventLog = opened.client.log
        self.is_open = True
        self.epoch = time.time() - time.monotonic()
        """Start of the engine's clock in seconds since 1970."""
        self._tokenizer = opened.tokenizer
        self._dropped = weakref.finalize(self, _close_later, opened.client)
        self._dropped.atexit = False  # at exit the engine's thread or process ends anyway

    @property
    def has_tokenizer(self) -> bool:
        return self._tokenizer is not None

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises NotSupported with `skip_tokenizer_init`."""
        if self._tokenizer is None:
            raise NotSupported("this engine has no tokenizer (skip_tokenizer_init)", hint="send input_ids")
        return self._tokenizer

    @property
    def hf_tokenizer(self) -> Any:
        """The Hugging Face tokenizer; None with `skip_tokenizer_init`."""
        return None if self._tokenizer is None else self._tokenizer.hf

    @cached_property
    def eyes(self) -> Eyes:
        """The reader of pictures. Raises NotSupported for a model that sees none, and what its folder's files lack."""
        entry = FAMILIES.get(self.info.architecture)
        if entry is None or not self.sees:
            message = f"{self.info.architecture} reads text and no pictures (image_data)"
            raise NotSupported(message, hint="leave them out, or load a model that sees")
        args = self.args
        path = resolve(args.model_path, revision=args.revision, download_dir=args.download_dir, load_format="dummy").path
        config = read_config(path) | json.loads(args.json_model_override_args)
        return Eyes(open_sight(entry.sight, path, config, self.tokenizer), Reader(args.allowed_media))

    def see(self, prompt: Prompt, shown: Sequence[Shown]) -> SeenPrompt:
        """Returns a prompt with its pictures as requests have it.

        Raises InvalidRequest for pictures that cannot be read or stand nowhere in the prompt, and for a placeholder without a
        picture; NotSupported.
        """
        if not shown:
            ids = self.encode(prompt) if isinstance(prompt, str) else prompt
            if self.can_see:
                self.eyes.check_plain(prompt, ids)
            return SeenPrompt(ids)
        return self.eyes.prompt(prompt, shown, self.encode, is_local=not CALL.get().origin)

    @cached_property
    def can_see(self) -> bool:
        """True if the model takes pictures, and its folder has what reading them needs."""
        try:
            return self.sees and self.has_tokenizer and bool(self.eyes)
        except WorkbenchError:
            return False

    @property
    def sees(self) -> bool:
        """True if the model takes pictures."""
        entry = FAMILIES.get(self.info.architecture)
        return entry is not None and bool(entry.sight)

    @property
    def picture_marks(self) -> dict[str, str]:
        """Placeholders of pictures in prompts, by their kind (image, video); empty for a model that sees none."""
        return {kind: mark for kind, mark in self.eyes.marks.items() if mark} if self.sees and self.has_tokenizer else {}

    def conversation(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None) -> dict[str, Any]:
        """Returns a conversation in the model's chat template as arguments of `generate`: its prompt and its pictures."""
        if not self.sees:
            if has_media(messages):
                _ = self.eyes  # which refuses
            return {"input_ids": self.chat_ids(messages, tools)}
        read, media = take_media(chat.checked(messages))
        shown = fitted(read, chat.source_of(self.tokenizer.hf, tools), self.eyes.marks)
        text = Rendered(self.tokenizer.chat_text(shown, tools=tools))
        return {"prompt": text} | media_options(media)

    def encode(self, text: str) -> tuple[int, ...]:
        """Returns the token ids of a prompt: with the special tokens that the tokenizer adds, unless a template wrote them."""
        return self.tokenizer.encode(text, add_special_tokens=not isinstance(text, Rendered))

    def chat_ids(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None) -> tuple[int, ...]:
        """Returns the token ids of a conversation in the model's chat template."""
        return self.tokenizer.chat_ids(messages, tools=tools)

    def update_weights(self, model_path: str, load_format: str | None = None) -> WeightsInfo:
        """Replaces the weights by those of another checkpoint of the same configuration, fetched if need be.

        `args` name that checkpoint afterwards; the tokenizer and the served name stay. Raises, with no change, what
        `Engine.update_weights_from_disk` raises.
        """
        args = self.args
        resolve(model_path, download_dir=args.download_dir, load_format=load_format or "auto")  # so that no step waits for it
        weights = self.client.engine.update_weights_from_disk(model_path, load_format)
        self.info = self.client.engine.info()
        self.args = ServerArgs.make(
            **args.to_dict() | {
                "model_path": model_path, "load_format": weights.load_format, "revision": None,
                "tokenizer_path": args.tokenizer_path or args.model_path,
                "served_model_name": args.served_model_name or args.model_path,
            }
        )  # fmt: skip
        return weights

    def update_tensors(self, tensors: bytes) -> WeightsInfo:
        """Replaces some or all weights by tensors in the format of safetensors."""
        weights = self.client.engine.update_weights_from_tensor(tensors)
        self.info = self.client.engine.info()
        return weights

    def close(self) -> None:
        """Ends the engine; when this returns, its thread or process is gone. May be called twice."""
        if self.is_open:
            self.is_open = False
            self._dropped.detach()
            client, self.client = self.client, Closed(self.log)
            client.close()


def _close_later(client: EngineClient) -> None:
    """Closes the client on a thread of its own. The last reference may end on the engine's thread, which `close` waits for."""
    threading.Thread(target=client.close, name="workbench-close", daemon=True).start()
