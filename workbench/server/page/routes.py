"""Routes of the page, of its scripts and styles, of its views, and of the page about the API."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from workbench.server.body import Body, answers, json_body, read_body
from workbench.server.problem import Problem
from workbench.server.serving import serving_of
from workbench.server.sse import EventStream
from workbench.server.wire import Json

if TYPE_CHECKING:  # the views are loaded when the first page opens
    from workbench.server.page.views import PageViews

router = APIRouter()
HERE = Path(__file__).parent
MAX_PAGES = 64
SECURITY = {
    "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'self'",
    "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-cache",
}  # fmt: skip
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html; charset=utf-8"}


class AskBody(Body):
    """The body of `/page/ask`: a message to one view of an open page."""

    page: str
    """Id of the page, from its first message."""
    view: str
    """Name of the view."""
    message: dict[str, object]
    """The message: what was clicked or chosen."""


@router.get("/", include_in_schema=False)
async def index(http: Request) -> Response:
    """Returns the page to a browser, and to other clients the words that Ollama's look for."""
    if "text/html" not in http.headers.get("accept", ""):
        return PlainTextResponse("Ollama is running")
    return _page(http, "page.html")


@router.get("/docs", include_in_schema=False)
async def docs(http: Request) -> Response:
    """Returns the page about the API, made from `/openapi.json` in the browser."""
    return _page(http, "docs.html")


def _page(http: Request, name: str) -> Response:
    prefix = (serving_of(http).args.root_path or "").rstrip("/")
    base = f'<base href="{html.escape(prefix)}/">' if prefix else ""
    text = (HERE / name).read_text("utf-8").replace("<!-- base -->", base)
    return Response(text, headers={"content-type": TYPES[".html"], **SECURITY})


@router.get("/page/static/{name}", include_in_schema=False)
async def static(name: str) -> Response:
    """Returns a script or a style sheet: one of the page, or `view-NAME.js` and `view-NAME.css` of a view."""
    from workbench.server.page.views import NAMES
    from workbench.views.live.scripts import VIEWS, script, styles

    view, _, kind = name.removeprefix("view-").partition(".")
    if name.startswith("view-") and view in NAMES and kind in ("js", "css"):
        text = script(VIEWS / view / "view.js") if kind == "js" else styles(VIEWS / view / "view.css")
    elif name in ("page.js", "docs.js"):
        text = script(HERE / name)
    elif name == "page.css":
        text = (HERE / name).read_text("utf-8")
    else:
        raise Problem(404, f"there is no file {name!r}", code="not_found")
    return Response(text, headers={"content-type": TYPES[Path(name).suffix], **SECURITY})


@router.get("/page/events", openapi_extra=answers("text/event-stream"))
async def events(http: Request) -> Response:
    """Streams what the views of a new page draw."""
    from workbench.server.page.views import PageViews

    serving = serving_of(http)
    pages = http.app.state.pages
    if len(pages) >= MAX_PAGES:
        raise Problem(429, f"{MAX_PAGES} pages are open already", code="too_many_pages")
    source = await asyncio.to_thread(lambda: serving.questions.page_source)
    return EventStream(_messages(PageViews(serving, source), pages))


async def _messages(page: PageViews, pages: dict[str, PageViews]) -> AsyncIterator[bytes]:
    pages[page.id] = page
    try:
        async with aclosing(page.messages()) as messages:  # type: ignore[type-var]
            async for message in messages:
                yield message
    finally:
        del pages[page.id]


@router.post("/page/ask", openapi_extra=json_body(AskBody))
async def ask(http: Request) -> Response:
    """Answers a message of a view: the details of what was clicked, or another choice of what it shows."""
    body = await read_body(http, AskBody)
    page = http.app.state.pages.get(body.page)
    if page is None or body.view not in page.views:
        raise Problem(404, "this page is not open here any more", "page", "not_found")
    return Json(await asyncio.to_thread(page.views[body.view].answer, body.message))
