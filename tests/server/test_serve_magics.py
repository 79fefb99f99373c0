"""`%wb serve` and `%wb attach` in a real IPython, with an engine of a tiny model."""

from __future__ import annotations

import time

import httpx
import pytest
from byte_model import write_byte_model
from IPython.core.interactiveshell import InteractiveShell

from workbench.errors import NotSupported
from workbench.magics.options import MagicUsage
from workbench.magics.session import NothingYet, session


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    folder = write_byte_model(tmp_path_factory.mktemp("model"))
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "workbench")
    shell.run_line_magic("wb", f"load {folder} --load-format dummy --dtype float32 --max-total-tokens 3000")
    yield lambda line: shell.run_line_magic("wb", line)
    session.close()


def said(shell):
    """Returns the explanation of the watched server's last request, or why there is none yet."""
    try:
        return str(shell("explain --engine server"))
    except NothingYet as error:
        return str(error)


def url_of(printed):
    return next(word for word in printed.split() if word.startswith("http"))


def test_a_view_is_written_as_a_page_that_plays_the_run(shell, tmp_path):
    shell(f"batch -T {tmp_path}/run.html --live")
    assert "wb-packed" in (tmp_path / "run.html").read_text()
    shell(f"batch -T {tmp_path}/still.html")
    assert "wb-packed" not in (tmp_path / "still.html").read_text()
    with pytest.raises(MagicUsage, match="is for a page"):
        shell(f"batch --live -T {tmp_path}/run.json")


def test_an_engine_is_served_watched_and_served_no_more(shell, capsys):
    shell("serve --port 0 --api-key k --served-model-name tiny")
    printed = capsys.readouterr().out
    url = url_of(printed)
    assert printed.startswith(f"tiny is served at {url} (with the key)")
    head = {"authorization": "Bearer k"}
    assert httpx.get(f"{url}/v1/models", headers=head).json()["data"][0]["id"] == "tiny"
    assert httpx.get(f"{url}/v1/models").status_code == 401
    shell(f"attach {url} --api-key k")
    assert f"at {url}, to look into" in capsys.readouterr().out
    assert url in repr(shell("status"))
    assert "request" in repr(shell("batch --engine server --no-view"))
    body = {"input_ids": [1, 2, 3], "rid": "asked", "sampling_params": {"max_new_tokens": 2}}
    assert httpx.post(f"{url}/generate", json=body, headers=head).status_code == 200
    deadline = time.monotonic() + 60  # the log of a watched server comes a moment later
    while "asked" not in (words := said(shell)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "asked" in words
    with pytest.raises(NotSupported, match="only watched"):
        session.complete("hello", engine="server")
    with pytest.raises(NotSupported, match="only watched"):
        shell("flush --engine server")
    assert all("server" not in row.engines for row in session.ps().rows)
    shell("stop server")
    shell("serve --stop")
    assert "served no more" in capsys.readouterr().out
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/health")
    with pytest.raises(NothingYet, match="not served"):
        shell("serve --stop")


def test_serving_again_replaces_the_server_and_stopping_the_engine_ends_it(shell, capsys):
    shell("serve --port 0")
    first = url_of(capsys.readouterr().out)
    shell("serve --port 0")
    second = url_of(capsys.readouterr().out)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{first}/health")
    assert httpx.get(f"{second}/health").status_code == 200
    shell("stop")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{second}/health")
