"""Pictures are read from the places that are allowed, and from no others."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from workbench.errors import InvalidRequest, NotSupported
from workbench.pictures import reader
from workbench.pictures.reader import Reader

DATA = b"\x89PNG, or so"
TEXT = base64.b64encode(DATA).decode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "open").mkdir()
    path = tmp_path / "open" / "one.png"
    path.write_bytes(DATA)
    return path


def test_programs_read_every_file_and_requests_those_of_allowed_folders(file: Path, tmp_path: Path):
    assert Reader(None).read(str(file), is_local=True) == Reader(None).read(file, is_local=True) == DATA
    assert Reader(f"example.org, {file.parent}").read(str(file), is_local=False) == DATA
    for allowed in (None, "*", f"{tmp_path}/other", f"{file.parent}x"):
        with pytest.raises(InvalidRequest, match="allowed_media"):
            Reader(allowed).read(str(file), is_local=False)


def test_no_link_and_no_dots_lead_out_of_an_allowed_folder(file: Path, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_bytes(DATA)
    (file.parent / "link").symlink_to(secret)
    for name in ("link", "../secret"):
        with pytest.raises(InvalidRequest):
            Reader(str(file.parent)).read(f"{file.parent}/{name}", is_local=False)


@pytest.mark.parametrize("is_local", [True, False])
def test_data_urls_base64_and_bytes(is_local: bool):
    for source in (TEXT, f"data:image/png;base64,{TEXT}", f"data:;base64,{TEXT}", DATA):
        assert Reader(None).read(source, is_local=is_local) == DATA


@pytest.mark.parametrize("is_local", [True, False])
def test_base64_in_lines_and_data_urls_with_spaces(is_local: bool):
    lines = "\n".join(TEXT[i : i + 5] for i in range(0, len(TEXT), 5))
    quoted = TEXT.replace("=", "%3D").replace("+", "%2B")
    for source in (
        lines, f"data:image/png; base64, {TEXT}", f"data:image/png;charset=utf-8;base64,{quoted}", f"data:;base64,{lines}\r\n"
    ):  # fmt: skip
        assert Reader(None).read(source, is_local=is_local) == DATA


def test_a_url_of_a_file_is_its_path(file: Path):
    spaced = file.with_name("a b.png")
    spaced.write_bytes(DATA)
    for url in (file.as_uri(), spaced.as_uri(), f"file://localhost{file}"):
        assert Reader(None).read(url, is_local=True) == Reader(str(file.parent)).read(url, is_local=False) == DATA
        with pytest.raises(InvalidRequest, match="allowed_media"):
            Reader(None).read(url, is_local=False)
    with pytest.raises(InvalidRequest):
        Reader(None).read(f"file://elsewhere{file}", is_local=True)


@pytest.mark.parametrize("source", ["~nobody/x", "a\0b", "no base64!", "data:image/png,plain", "x" * 5000 + "!", 7, ""])
@pytest.mark.parametrize("is_local", [True, False])
def test_anything_else_is_refused_in_two_lines(source: object, is_local: bool):
    with pytest.raises(InvalidRequest) as refused:
        Reader(None).read(source, is_local=is_local)
    assert len(str(refused.value)) < 300


def test_hosts():
    Reader("example.org").check_host("https://Example.org:8443/a.png")
    Reader("*").check_host("http://anything/a.png")
    for url in ("https://example.org.evil/a", "https://user@evil/example.org", "http://evil#example.org", "http:///a"):
        with pytest.raises(NotSupported, match="not fetched from"):
            Reader("example.org").check_host(url)


def test_a_file_that_is_too_large(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "MAX_BYTES", 4)
    for source in (file, DATA, TEXT):
        with pytest.raises(InvalidRequest, match="MiB"):
            Reader(None).read(source, is_local=True)
