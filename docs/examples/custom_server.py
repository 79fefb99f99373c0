"""An HTTP server of your own around an engine: python docs/examples/custom_server.py [PORT]

curl localhost:8000/titles --json '{"texts": ["It rains in Paris, and the river rises.", "Bread is cheaper than last year."]}'
curl localhost:8000/story --no-buffer --json '{"about": "a fox who finds a clock"}'
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

import workbench as sgl
from workbench.errors import InvalidRequest

TITLE = {"temperature": 0, "max_new_tokens": 12, "stop": "\n"}
STORY = {"temperature": 0, "max_new_tokens": 200, "stop": "\n\n"}


class Texts(BaseModel):
    texts: list[str] = Field(min_length=1, max_length=64)


class Wish(BaseModel):
    about: str


def make_app(engine: sgl.Engine) -> FastAPI:
    """Returns the server's routes. Requests that come at the same time share the engine's batches and its prefix cache."""
    app = FastAPI()

    @app.exception_handler(InvalidRequest)
    async def refused(http: Request, error: InvalidRequest) -> JSONResponse:
        return JSONResponse({"error": error.message, "field": error.field}, status_code=400)

    @app.post("/titles")
    async def titles(body: Texts) -> dict[str, list[str]]:
        prompts = [f"A short title for each text.\n\nText: {text}\nTitle:" for text in body.texts]
        answers = await engine.async_generate(prompts, TITLE)
        return {"titles": [answer["text"].strip() for answer in answers]}

    @app.post("/story")
    async def story(body: Wish) -> StreamingResponse:
        chunks = await engine.async_generate(f"A story about {body.about}.\n\nOnce upon a time", STORY, stream=True)
        return StreamingResponse(new_text(chunks), media_type="text/plain; charset=utf-8")

    return app


async def new_text(chunks: AsyncIterator[Any]) -> AsyncIterator[str]:
    """Yields the text as it is written. A client that leaves ends it here, and so frees its place in the engine."""
    sent = 0
    async for chunk in chunks:
        yield chunk["text"][sent:]
        sent = len(chunk["text"])


if __name__ == "__main__":
    with sgl.Engine("smollm2-135m") as engine:
        uvicorn.run(make_app(engine), port=int(sys.argv[1]) if sys.argv[1:] else 8000)
