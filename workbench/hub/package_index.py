"""Finding one wheel on a package index: the simple API in JSON (PEP 691) or HTML (PEP 503), or a folder of wheels."""

from __future__ import annotations

import base64
import http.client
import json
import netrc
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from workbench.hub.pip_settings import PipSettings

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


@dataclass(frozen=True)
class Link:
    """A wheel: a local path or an address, and its sha256 where the index states one."""

    filename: str
    url: str
    sha256: str | None = None

    @property
    def path(self) -> Path | None:
        """The file itself when it needs no download."""
        parts = urllib.parse.urlsplit(self.url)
        return Path(urllib.request.url2pathname(parts.path)) if parts.scheme == "file" else None


class WheelNotFound(Exception):
    """Nowhere; `reasons` has one line per place. `ask_pip` when the obstacle is one that pip may know how to pass."""

    def __init__(self, reasons: list[str], ask_pip: bool) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons
        self.ask_pip = ask_pip


class Web:
    """HTTP with the certificates, the proxy and the passwords of the pip settings."""

    def __init__(self, settings: PipSettings) -> None:
        self.timeout_s = settings.timeout_s
        self._settings = settings
        self._passwords = {parts.hostname: parts for parts in map(urllib.parse.urlsplit, settings.index_urls) if parts.username}
        self._opener: urllib.request.OpenerDirector | None = None

    def get(self, url: str, headers: dict[str, str]) -> Any:
        """Returns an open response; the caller closes it. Raises one of `NETWORK_ERRORS`."""
        request = urllib.request.Request(_without_password(url), headers={"User-Agent": "radix-workbench", **headers})
        credentials = self._credentials(urllib.parse.urlsplit(url))
        if credentials:
            token = base64.b64encode(":".join(credentials).encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {token}")  # never to the host of a redirect
        self._opener = self._opener or self._make_opener()
        return self._opener.open(request, timeout=self.timeout_s)

    def _make_opener(self) -> urllib.request.OpenerDirector:
        cert, proxy = self._settings.cert, self._settings.proxy
        if cert and os.path.isdir(cert):
            context = ssl.create_default_context(capath=cert)
        else:
            context = ssl.create_default_context(cafile=cert)  # None: the system's, or SSL_CERT_FILE and SSL_CERT_DIR
        handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
        if proxy:
            handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
        return urllib.request.build_opener(*handlers)

    def _credentials(self, parts: urllib.parse.SplitResult) -> tuple[str, str] | None:
        known = parts if parts.username else self._passwords.get(parts.hostname)
        if known:
            return urllib.parse.unquote(known.username or ""), urllib.parse.unquote(known.password or "")
        try:
            entry = netrc.netrc().authenticators(parts.hostname or "")
        except (OSError, netrc.NetrcParseError):
            return None
        return (entry[0], entry[2] or "") if entry else None


def find_wheel(project: str, version: str, settings: PipSettings, web: Web) -> Link:
    """Finds the pure-Python wheel of exactly this version, local folders first. Raises `WheelNotFound`."""
    reasons, ask_pip = [], False
    for place, read in _places(project, settings, web):
        try:
            for link in read():
                if _is_wheel_of(link.filename, project, version):
                    return link
            reasons.append(f"{place}: no wheel {project} {version}")
        except urllib.error.HTTPError as error:
            ask_pip = ask_pip or error.code in (401, 403, 407)
            reasons.append(f"{place}: HTTP {error.code}")
        except NETWORK_ERRORS as error:
            reason = getattr(error, "reason", error)
            ask_pip = ask_pip or isinstance(reason, ssl.SSLError)
            reasons.append(f"{place}: {str(reason) or type(error).__name__}")
        except (OSError, ValueError) as error:
            reasons.append(f"{place}: {error}")
    raise WheelNotFound(reasons or ["no package index is configured"], ask_pip)


def _places(project: str, settings: PipSettings, web: Web) -> Iterator[tuple[str, Callable[[], list[Link]]]]:
    """Returns (name without any address, function that lists links) of every place to search."""
    for number, place in enumerate(settings.find_links, 1):
        name = f"find-links {number} of {len(settings.find_links)}"
        yield name, partial(_read_place, place, web)
    page = re.sub(r"[-_.]+", "-", project).lower()
    for number, url in enumerate(settings.index_urls):
        name = f"the extra package index {number}" if number else "the configured package index"
        yield name, partial(_read_place, f"{url.rstrip('/')}/{page}/", web)


def _read_place(place: str, web: Web) -> list[Link]:
    parts = urllib.parse.urlsplit(place)
    if parts.scheme in ("http", "https"):
        with web.get(place, {"Accept": ACCEPT}) as response:
            kind = response.headers.get_content_type()
            return _read_page(response.read().decode("utf-8", "replace"), kind, response.geturl())
    path = Path(urllib.request.url2pathname(parts.path) if parts.scheme == "file" else place).expanduser()
    if path.is_dir() and (path / "index.html").is_file():
        path = path / "index.html"
    if path.is_file():
        return _read_page(path.read_text("utf-8", "replace"), "text/html", path.absolute().as_uri())
    return [Link(file.name, file.absolute().as_uri()) for file in sorted(path.glob("*.whl"))]


def _read_page(text: str, kind: str, base: str) -> list[Link]:
    if kind.endswith("+json") or kind == "application/json":
        return [
            Link(file["filename"], urllib.parse.urljoin(base, file["url"]), (file.get("hashes") or {}).get("sha256"))
            for file in json.loads(text)["files"]
        ]
    page = _Anchors()
    page.feed(text)
    return [_link(urllib.parse.urljoin(page.base or base, href)) for href in page.hrefs]


def _link(url: str) -> Link:
    address, fragment = urllib.parse.urldefrag(url)
    filename = urllib.parse.unquote(urllib.parse.urlsplit(address).path.rsplit("/", 1)[-1])
    return Link(filename, address, urllib.parse.parse_qs(fragment).get("sha256", [None])[0])


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.base: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if href and tag == "a":
            self.hrefs.append(href)
        elif href and tag == "base":
            self.base = href


def _is_wheel_of(filename: str, project: str, version: str) -> bool:
    name, _, rest = filename.partition("-")
    same = re.sub(r"[-_.]+", "_", name).lower() == re.sub(r"[-_.]+", "_", project).lower()
    return same and filename.endswith("-none-any.whl") and rest.split("-")[0] == version


def _without_password(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
