"""The server of the real model, for contract tests. Packages that are not installed skip their tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.server.conftest import REAL, ServerProcess, server_process

__all__ = ["server_process"]
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings inside clients are theirs."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def real_server(smollm2: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of the real model, with the dense form of its weights: a client's own model is transformers'."""
    files = str(tmp_path_factory.mktemp("files"))
    server = ServerProcess(*REAL, "--quantization", "dequant", "--file-storage-pth", files)
    yield server
    server.close()


@pytest.fixture(scope="session")
def url(real_server) -> str:
    return real_server.url


@pytest.fixture(scope="session")
def v1(url) -> str:
    """The address for clients of OpenAI's API."""
    return f"{url}/v1"


@pytest.fixture(scope="session")
def require():
    """Imports a client's module, or skips with the way to get it."""
    return lambda name: pytest.importorskip(name, reason=f"{name} is not installed; `make clients` brings it")


@pytest.fixture(scope="session")
def client(v1: str) -> Iterator[openai.OpenAI]:
    """OpenAI's own client of the server."""
    with openai.OpenAI(base_url=v1, api_key="any", max_retries=0) as client:
        yield client
