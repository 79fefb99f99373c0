"""The built site in Chromium: pages, search, colours, a phone's width; no error, and no request to elsewhere."""

from __future__ import annotations

import os
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
pytestmark = pytest.mark.browser
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 800}
PAGES = (
    "index",
    "tutorials/05-radix-tree",
    "explanation/batching",
    "how-to/tune",
    "reference/configuration",
    "reference/endpoints",
)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def open_page(address, new_context):
    """Opens a page of the site; at the end no page had an error or asked another machine."""
    opened, wrong = [], []

    def open_page(name, viewport=WIDE, scheme="light", **options):
        context = new_context(viewport=viewport, color_scheme=scheme, **options)
        opened.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda each: wrong.append(each.url) if not each.url.startswith((address, "data:", "blob:")) else None)
        page.goto(f"{address}/{name}.html")
        return page

    yield open_page
    for context in opened:
        context.close()
    assert wrong == []


def picture(page, name):
    if folder := os.environ.get("WORKBENCH_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/site-{name}.png")


def test_the_first_page_leads_to_the_four_parts(open_page):
    page = open_page("index")
    expect(page).to_have_title(re.compile("workbench"))
    for part in ("Tutorials", "How-to guides", "Reference", "Explanation"):
        expect(page.locator(".sidebar-tree").get_by_role("link", name=part, exact=True)).to_be_visible()
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    picture(page, "home")
    page.locator("article").get_by_role("link", name="Tutorials").first.click()
    expect(page.locator("h1")).to_contain_text("Tutorials")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_phone_and_its_tables_scroll_by_themselves(open_page, name):
    page = open_page(name, PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    picture(page, f"phone-{name.replace('/', '-')}")


@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_a_screen(open_page, name):
    page = open_page(name)
    for width in (390, 800, 1010, 1320, 1366, 1440, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width


def test_output_and_commands_go_on_below_where_a_line_is_too_long(open_page):
    for name in ("how-to/serve", "how-to/tune", "tutorials/08-server"):
        page = open_page(name, PHONE)
        lines = page.locator(".highlight-bash pre, .highlight-text pre, .cell_output pre")
        assert lines.evaluate_all("all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)") == []


def test_the_search_finds_a_word_and_its_page(open_page):
    page = open_page("search")
    page.goto(f"{page.url}?q=retraction")
    found = page.locator("ul.search li a")
    expect(found.first).to_be_visible()
    assert any("Paging, eviction and retraction" in text for text in found.all_text_contents())


def test_a_button_copies_the_code_beside_it(open_page):
    page = open_page("how-to/serve")
    page.evaluate("navigator.clipboard.writeText = text => { window.copied = text; }")
    block = page.locator("div.highlight").first
    block.hover()
    block.get_by_role("button", name="copy").click()
    expect(block.get_by_role("button")).to_have_text("copied")
    assert page.evaluate("window.copied") == "workbench serve smollm2-135m --port 30000\n"


def test_light_and_dark_can_be_chosen_and_pictures_follow(open_page):
    page = open_page("explanation/batching", scheme="light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    picture(page, "explanation-light")
    dark = open_page("explanation/batching", scheme="dark")
    assert dark.evaluate("getComputedStyle(document.body).backgroundColor") != light
    picture(dark, "explanation-dark")
    picture(open_page("reference/configuration"), "table")
    picture(open_page("reference/python"), "python")
    picture(open_page("tutorials/05-radix-tree"), "tutorial")


def test_a_page_reads_without_scripts(open_page):
    page = open_page("explanation/batching", java_script_enabled=False)
    expect(page.locator("h1")).to_contain_text("Continuous batching")
    expect(page.locator("div.cell").first).to_be_visible()


def test_a_tutorials_live_view_plays_its_run_without_a_kernel(open_page):
    page = open_page("tutorials/05-radix-tree")
    view = page.locator(".wb-recording").first
    view.scroll_into_view_if_needed()  # what is out of sight is not drawn
    words, title = view.locator(".wb-player output"), view.locator("[data-view=tree] b").first
    last = title.text_content()
    view.locator(".wb-player input").evaluate("(input) => { input.value = 1; input.dispatchEvent(new Event('input')); }")
    expect(words).to_contain_text("step 2,")
    expect(title).not_to_have_text(last)
    view.locator("text=/^#[0-9]+$/").first.click()
    expect(view.locator(".wb-detail")).to_contain_text("evictable")
    expect(page.locator("text=a live view; its last state")).to_have_count(0)


def test_without_scripts_a_tutorial_has_the_still_picture(open_page):
    page = open_page("tutorials/05-radix-tree", java_script_enabled=False)
    expect(page.locator(".wb-recording .wb").first).to_contain_text("nodes")
    assert page.locator(".wb-player").count() == 0
