"""Checks of JSON Schema's formats that need no packages beside `jsonschema`, as strict as the standards they name."""

from __future__ import annotations

import datetime
import ipaddress
import re
import uuid
from urllib.parse import urlsplit

import jsonschema

FORMATS = jsonschema.FormatChecker(formats=())
LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)")
DURATION = re.compile(r"P(?=.)((\d+Y)?(\d+M)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+S)?)?|\d+W)")
UNRESERVED = r"[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2}"
POINTER = re.compile(r"(/([^~/]|~[01])*)*")


def _matches(pattern: str | re.Pattern[str], text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


def _date(text: str) -> bool:
    return _matches(r"\d{4}-\d\d-\d\d", text) and bool(datetime.date.fromisoformat(text))


def _date_time(text: str) -> bool:
    date, _, time = text.replace("t", "T").replace(" ", "T").partition("T")
    return _date(date) and _matches(TIME, time)


def _email(text: str) -> bool:
    local, _, domain = text.rpartition("@")
    quoted = _matches(r'"([^"\\]|\\.)*"', local)
    atom = _matches(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*", local)
    return (quoted or atom) and (_hostname(domain) or _matches(r"\[.+\]", domain))


def _hostname(text: str) -> bool:
    return len(text) <= 253 and _matches(rf"{LABEL}(\.{LABEL})*", text)


def _uri(text: str, needs_scheme: bool = True) -> bool:
    if not _matches(rf"({UNRESERVED}|[\[\]])*(#({UNRESERVED})*)?", text):
        return False
    urlsplit(text)  # raises ValueError for an invalid host
    return not needs_scheme or (":" in text and _matches(r"[A-Za-z][A-Za-z0-9+.-]*", text.partition(":")[0]))


def _relative(text: str) -> bool:
    found = re.match(r"(0|[1-9]\d*)", text)
    return found is not None and (text[found.end() :] == "#" or _matches(POINTER, text[found.end() :]))


CHECKS = {
    "date": _date, "time": lambda text: _matches(TIME, text), "date-time": _date_time, "email": _email, "hostname": _hostname,
    "duration": lambda text: _matches(DURATION, text), "ipv4": lambda text: bool(ipaddress.IPv4Address(text)) or True,
    "ipv6": lambda text: bool(ipaddress.IPv6Address(text)) or True, "uri": _uri, "uri-reference": lambda text: _uri(text, False),
    "uri-template": lambda text: _matches(r"([^{}\s\"'<>^`|\\]|\{[+#./;?&]?[\w.,:*%]+\})*", text),
    "uuid": lambda text: str(uuid.UUID(text)) == text.lower(), "json-pointer": lambda text: _matches(POINTER, text),
    "relative-json-pointer": _relative,
}  # fmt: skip
for name, check in CHECKS.items():
    FORMATS.checks(name, raises=ValueError)(lambda value, check=check: not isinstance(value, str) or check(value))
