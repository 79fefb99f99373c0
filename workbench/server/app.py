"""Builds the application: the routes of all APIs behind one gate."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

import workbench
from workbench.errors import WorkbenchError
from workbench.server.batches.runner import BatchRunner
from workbench.server.metrics import Metrics
from workbench.server.middleware import Gate
from workbench.server.openai.responses_store import ResponseStore
from workbench.server.problem import Problem, error_answers, problem_of
from workbench.server.serving import Serving
from workbench.server.wire import Json

ROUTES = (
    "workbench.server.anthropic.messages",
    "workbench.server.batches.routes",
    "workbench.server.control",
    "workbench.server.embedding",
    "workbench.server.generate",
    "workbench.server.inspect",
    "workbench.server.metrics",
    "workbench.server.ollama.embed",
    "workbench.server.ollama.routes",
    "workbench.server.openai.chat",
    "workbench.server.openai.completions",
    "workbench.server.openai.models",
    "workbench.server.openai.responses",
    "workbench.server.page.routes",
    "workbench.server.sessions",
    "workbench.server.status",
    "workbench.server.tokens",
)
"""The modules with routes; each has a `router`."""


def make_app(serving: Serving) -> ASGIApp:
    """Returns the application of a server."""
    api = FastAPI(
        title="workbench",
        version=workbench.__version__,
        root_path=serving.args.root_path or "",
        lifespan=_life,
        docs_url=None,
        redoc_url=None,
    )
    api.state.serving = serving
    api.state.metrics = Metrics(serving) if serving.args.enable_metrics else None
    api.state.batches = BatchRunner(serving, api)
    api.state.pages = {}
    api.state.responses = ResponseStore()
    for name in ROUTES:
        router = importlib.import_module(name).router
        api.include_router(router, responses=error_answers(router.routes[0].path))
    api.add_exception_handler(HTTPException, _show_http_error)
    api.add_exception_handler(RequestValidationError, _show_invalid)
    api.add_exception_handler(Problem, _show_error)
    api.add_exception_handler(WorkbenchError, _show_error)
    api.add_exception_handler(Exception, _show_error)
    app: ASGIApp = Gate(api, serving)
    if serving.args.cors_origins:
        app = CORSMiddleware(app, allow_origins=serving.args.cors_origins.split(","), allow_methods=["*"], allow_headers=["*"])
    return app


@asynccontextmanager
async def _life(api: FastAPI) -> AsyncIterator[None]:
    """Works on batches while the server runs."""
    async with api.state.batches.running():
        yield


async def _show_error(http: Request, error: Exception) -> Json:
    problem = problem_of(error)
    return Json(problem.for_path(http.url.path), problem.status, problem.headers)


async def _show_invalid(http: Request, error: Exception) -> Json:
    """Shows a parameter of the address that is wrong."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return await _show_error(http, Problem(400, f"{name}: {first['msg']}", param=name, code="invalid_value"))


async def _show_http_error(http: Request, error: Exception) -> Json:
    assert isinstance(error, HTTPException)
    problem = Problem(error.status_code, f"{http.method} {http.url.path}: {error.detail}")
    return Json(problem.for_path(http.url.path), problem.status, error.headers)
