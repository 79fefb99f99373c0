"""A recorded page in Chromium, from disk: a reader moves through the run, clicks, and reads reasons; nothing is loaded."""

from __future__ import annotations

import os

import pytest
from random_runs import facts, squeezed

playwright = pytest.importorskip("playwright.sync_api")
from workbench.views.live import Source  # noqa: E402
from workbench.views.recorded.opening import open_recording  # noqa: E402

expect = playwright.expect
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def source():
    core = squeezed()
    return Source(core.log, facts(core), lambda: None)


@pytest.fixture
def open_page(new_context, tmp_path):
    """Function that opens a page of a recording."""
    contexts, errors, urls = [], [], []

    def open_it(recording, *, scripts=True):
        recording.save(tmp_path / "run.html")
        contexts.append(new_context(viewport={"width": 1300, "height": 1000}, java_script_enabled=scripts))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        page.on("request", lambda request: urls.append(request.url))
        page.goto((tmp_path / "run.html").as_uri())
        return page

    yield open_it
    assert errors == []
    assert urls == [(tmp_path / "run.html").as_uri()], "the page loads itself alone"
    for context in contexts:
        context.close()


WORDS = """button => {
  window.words = [];
  new MutationObserver(() => window.words.push(button.textContent)).observe(button, { childList: true });
}"""
"""Code that keeps the words of a button, so that none is missed on a busy machine."""


def move(page, moment):
    page.locator(".wb-player input").evaluate(
        "(input, at) => { input.value = at; input.dispatchEvent(new Event('input')); }", moment
    )


def test_a_reader_moves_through_the_run_and_asks_about_a_node(source, open_page):
    recording = open_recording(source, "dashboard", moments=40)
    page = open_page(recording)
    tree = page.locator("[data-view=tree]")
    words = page.locator(".wb-player output")
    expect(words).to_contain_text(f"step {recording.moments[-1].step}")
    last = tree.locator("b").first.text_content()
    move(page, 2)
    expect(words).to_contain_text(f"step {recording.moments[2].step}, ")
    expect(tree.locator("b").first).not_to_have_text(last)
    move(page, len(recording.moments) - 1)
    expect(tree.locator("b").first).to_have_text(last)
    tree.locator("text=/^#[0-9]+$/").first.click()
    expect(tree.locator(".wb-detail")).to_contain_text("evictable")
    expect(tree.locator(".wb-detail")).not_to_contain_text("in Python")
    page.locator("[data-view=batch] [data-rid]").first.click()
    expect(page.locator("[data-view=batch] .wb-about")).to_contain_text("prompt tokens reused")
    expect(page.locator("[data-view=tree] input[type=search]")).to_be_hidden()
    assert page.locator("[data-view=throughput] svg .wb-now").count() == 4
    if folder := os.environ.get("WORKBENCH_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/recording.png", full_page=True)


def test_a_token_has_its_panel_and_another_request_can_be_chosen(source, open_page):
    page = open_page(open_recording(source, "tokens", moments=40))
    tokens = page.locator("[data-view=tokens]")
    title = tokens.locator("b").first
    newest = title.text_content()
    tokens.locator("[data-position='0']").click()
    expect(tokens.locator(".wb-panel")).to_contain_text("No token detail here")
    other = tokens.locator("select").first.locator("option").nth(2)
    tokens.locator("select").first.select_option(other.get_attribute("value"))
    expect(title).not_to_have_text(newest)
    expect(title).to_have_text(f"Tokens of {other.get_attribute('value')}")


def test_a_run_is_played(source, open_page):
    recording = open_recording(source, "kv", moments=4)
    page = open_page(recording)
    button = page.locator(".wb-player button")
    button.evaluate(WORDS)
    button.click()
    page.wait_for_function("window.words.length >= 2")
    assert [word.split()[-1] for word in page.evaluate("window.words")] == ["pause", "play"]
    expect(page.locator(".wb-player output")).to_contain_text(f"step {recording.moments[-1].step}")


def test_without_scripts_the_still_picture_is_there(source, open_page):
    page = open_page(open_recording(source, "tree", moments=9), scripts=False)
    expect(page.locator(".wb-recording .wb")).to_contain_text("nodes")
    assert page.locator(".wb-player").count() == 0


def test_a_cell_shows_a_recording_in_a_frame_of_its_own(source, browser, tmp_path):
    (tmp_path / "cell.html").write_text(open_recording(source, "tree", moments=9)._repr_html_())
    page = browser.new_page()
    page.goto((tmp_path / "cell.html").as_uri())
    frame = page.frame_locator("iframe")
    expect(frame.locator(".wb-player output")).to_contain_text("step")
    page.close()
