"""Opens the backend of an evaluation: an engine of this process, a server of the native API, or one of OpenAI's API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workbench.config import ServerArgs
from workbench.lang.backends.base import Backend, SelectCall, Selection
from workbench.lang.backends.endpoint import RuntimeEndpoint
from workbench.lang.backends.openai import OpenAI
from workbench.lang.choices import best
from workbench.lang.default import as_backend
from workbench.lang.nodes import OptionTokens


class TextServer(OpenAI):
    """A server of OpenAI's API that continues plain text, and scores options by the log-probabilities of an echoed prompt."""

    name = "OpenAI, text"

    def __init__(self, url: str, api_key: str | None) -> None:
        super().__init__(url, api_key=api_key, is_chat_model=False)
        self.features = self.features | {"select", "choices_method"}

    def select(self, call: SelectCall) -> Selection:
        """Returns the best option. Raises BackendFailed if the server sends no log-probabilities of the prompt."""
        texts = [call.prompt.plain_text + choice for choice in call.choices]
        with self.translated():
            answer: Any = self._client.completions.create(
                model=self.model, prompt=texts, max_tokens=1, echo=True, logprobs=1, temperature=0
            )
        found = sorted(answer.choices, key=lambda choice: choice.index)
        options = tuple(self._option(one.logprobs, choice) for one, choice in zip(found, call.choices, strict=True))
        scores = tuple(call.method(options))
        details = answer.usage.prompt_tokens_details
        usage = {
            "id": call.rid, "prompt_tokens": answer.usage.prompt_tokens, "completion_tokens": answer.usage.completion_tokens,
            "cached_tokens": details and details.cached_tokens, "num_requests": len(texts),
        }  # fmt: skip
        return Selection(best(scores), scores, options, usage)

    def _option(self, logprobs: Any, choice: str) -> OptionTokens:
        """Returns the tokens at the end of the prompt that the choice consists of; the last one of all is new."""
        own: list[float] = []
        left = len(choice)
        for token, logprob in zip(reversed(logprobs.tokens[:-1]), reversed(logprobs.token_logprobs[:-1]), strict=True):
            if left <= 0:
                break
            own.insert(0, logprob)
            left -= len(token)
        if left > 0 or None in own:
            raise self.failed(f"sent no log-probabilities of {choice!r} at the end of the prompt")
        return OptionTokens(tuple(own))


@contextmanager
def opened(url: str | None, server_args: ServerArgs) -> Iterator[Backend]:
    """Opens an engine, or connects to a server: with `/v1` at the end of its address, through OpenAI's API."""
    if url is None:
        import workbench

        with workbench.Engine(**server_args.to_dict()) as engine:
            yield as_backend(engine)
    elif url.rstrip("/").endswith("/v1"):
        yield TextServer(url, server_args.api_key)
    else:
        yield RuntimeEndpoint(url, server_args.api_key)
