"""The status names the device, the kernels, and what slows the engine."""

from __future__ import annotations

import re

from workbench.views import EngineStatus, Loaded, Status


def test_what_computes_and_what_slows_it_are_named():
    engine = EngineStatus(
        name="e",
        model="m",
        device="cpu",
        dtype="float32",
        place="p",
        uptime_s=3,
        kernels="torch (no C++ compiler: <c++>)",
        weights="92.0 MiB gguf",
        kv="int8, 12.2 KiB a token",
    )
    loaded, status = Loaded(engine, "it is ready", 4096, "busy & slow"), Status((engine,), "busy & slow")
    text = (
        "it is ready: m on cpu in float32, in p, weights: 92.0 MiB gguf, K/V: int8, 12.2 KiB a token, "
        "kernels: torch (no C++ compiler: <c++>), "
        "room for 4,096 tokens of context"
    )
    assert loaded.to_text() == f"{text}\nbusy & slow"
    assert "torch (no C++ compiler: &lt;c++&gt;)" in loaded.to_html()
    assert status.to_text().splitlines()[-1] == "busy & slow"
    assert "int8, 12.2 KiB a token" in status.to_text()
    for view in (loaded, status):
        assert "<p>busy &amp; slow</p>" in view.to_html()


def test_the_memory_that_is_read_stands_under_the_table_where_it_is_known():
    known, unknown = (
        EngineStatus(name=name, model="m", device="cpu", dtype="float32", place="p", uptime_s=3, reads=reads)
        for name, reads in (("<a>", "95.1 MiB, 12% of 32.7 GiB/s"), ("b", ""))
    )
    status = Status((known, unknown), "busy")
    assert status.to_text().splitlines()[-2:] == ["memory read per token of engine <a>: 95.1 MiB, 12% of 32.7 GiB/s", "busy"]
    assert "<p>memory read per token of engine &lt;a&gt;: 95.1 MiB, 12% of 32.7 GiB/s</p><p>busy</p>" in status.to_html()
    assert "memory read" not in Status((unknown,)).to_text()


def test_the_memory_for_pictures_stands_under_the_table_of_a_model_that_sees():
    engine = EngineStatus(
        name="e", model="m", device="cpu", dtype="float32", place="p", uptime_s=3, pictures="1.0 MiB in use, 256.0 MiB at most"
    )
    text = Status((engine,)).to_text()
    assert text.splitlines()[-1] == "memory for pictures of engine e: 1.0 MiB in use, 256.0 MiB at most"


def test_only_names_are_broken_within_a_word():
    engine = EngineStatus(name="e", model="m", device="cpu", dtype="bfloat16", place="p", uptime_s=3, kernels="compiled for x")
    html = Status((engine,)).to_html()
    for word in ("cpu", "bfloat16", "compiled"):
        assert f'<td class="wb-whole">{word}</td>' in html
    assert "<td>e</td><td>m</td>" in html
    assert ".wb-whole{overflow-wrap:normal" in re.sub(r"\s", "", html)
