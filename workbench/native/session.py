"""`SessionParams`: which turn of a session a prompt continues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from workbench.errors import InvalidRequest, UnknownParameter


class SessionParams(msgspec.Struct, frozen=True):
    """The session of a prompt, and the turn that it continues."""

    id: str
    """Id of the session."""
    rid: str | None = None
    """Request id of the turn that the prompt continues. None: the prompt is the first of a conversation."""
    offset: int | None = None
    """Number of tokens of that turn, its prompt included, that are kept; negative: counted from its end. None or 0: all."""
    replace: bool | None = None
    """Switch to drop all turns that continue that one, without `rid` all turns of the session."""

    @classmethod
    def make(cls, value: Mapping[str, Any]) -> SessionParams:
        """Returns the parameters of a dict. Raises UnknownParameter, or InvalidRequest for another type."""
        for name in value:
            if name not in cls.__struct_fields__:
                raise UnknownParameter(str(name), cls.__struct_fields__, where="session_params")
        try:
            return msgspec.convert(dict(value), cls)
        except msgspec.ValidationError as error:
            raise InvalidRequest.because(
                "session_params", f"session_params: {error}", hint="give id, rid, offset, replace"
            ) from None
