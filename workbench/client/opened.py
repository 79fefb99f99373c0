"""`Opened`: what opening an engine returns, in this process or in a child."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.client.answers import EngineInfo
from workbench.client.protocol import EngineClient
from workbench.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Opened:
    """A running engine, its tokenizer (None with `skip_tokenizer_init`) and its facts."""

    client: EngineClient
    tokenizer: Tokenizer | None
    info: EngineInfo
