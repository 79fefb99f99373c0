"""The built site: every link leads somewhere, nothing is fetched from elsewhere, and it is small."""

from __future__ import annotations

import html
import os
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

TITLES = {"Tutorials", "How-to guides", "Reference", "Explanation"}


def pages(site):
    """Returns all pages except those that Sphinx makes for itself."""
    return [path for path in sorted(site.rglob("*.html")) if path.name not in ("genindex.html", "search.html")]


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def anchors(path: Path) -> set[str]:
    return set(re.findall(r'\bid="([^"]+)"', text(path)))


def links(path):
    """Returns the targets of a page's links and pictures."""
    outside_of_code = re.sub(r"<script\b.*?</script>|<style\b.*?</style>|<!--.*?-->", "", text(path), flags=re.DOTALL)
    found = re.findall(r'<(?:a|img|link|script|source)\b[^>]*?\b(?:href|src|srcset)="([^"]*)"', outside_of_code)
    return [html.unescape(link) for link in found]


def test_every_link_within_the_site_leads_to_a_file_and_a_place_in_it(site):
    broken = []
    for page in pages(site):
        for link in links(page):
            target = urlsplit(link)
            if target.scheme or link.startswith(("data:", "//")):
                continue
            path = (page.parent / unquote(target.path)).resolve() if target.path else page
            path = path / "index.html" if path.is_dir() else path
            if not path.is_file() or (
                target.fragment and path.suffix == ".html" and unquote(target.fragment) not in anchors(path)
            ):
                broken.append((page.name, link))
    assert broken == []


def test_links_to_other_sites_are_well_formed_and_secure(site):
    wrong = []
    for page in pages(site):
        for link in links(page):
            target = urlsplit(link)
            is_here = target.hostname in ("127.0.0.1", "localhost") or target.scheme in ("", "data", "mailto")
            is_good = target.scheme == "https" and re.fullmatch(r"[a-z0-9.-]+\.[a-z]+", target.hostname or "")
            if not is_here and not is_good:
                wrong.append((page.name, link))
    assert wrong == []


def test_no_page_fetches_anything_from_elsewhere(site):
    fetched = []
    for page in pages(site):
        tags = re.findall(r"<(?:script|img|link|iframe|source|object|embed)\b[^>]*>", text(page))
        fetched += [(page.name, tag) for tag in tags if re.search(r'(?:src|srcset)="(?:https?:)?//', tag)]
        fetched += [(page.name, tag) for tag in tags if "stylesheet" in tag and re.search(r'href="(?:https?:)?//', tag)]
        fetched += [(page.name, each) for each in re.findall(r"@import[^;]*|url\((?:https?:)?//[^)]*\)", text(page))]
    for sheet in site.rglob("*.css"):
        fetched += [(sheet.name, each) for each in re.findall(r"url\([\"']?(?:https?:)?//[^)]*\)", sheet.read_text("utf-8"))]
    assert fetched == []


def test_the_site_has_four_parts_and_every_page_is_reached_from_the_first(site):
    first = text(site / "index.html")
    assert set(re.findall(r'<a class="reference internal" href="[^"]*">([^<]*)</a>', first)) >= TITLES
    seen, todo = set(), [site / "index.html"]
    while todo:
        page = todo.pop()
        if page in seen or not page.is_file():
            continue
        seen.add(page)
        todo += [
            (page.parent / unquote(urlsplit(link).path)).resolve()
            for link in links(page)
            if urlsplit(link).path.endswith(".html")
        ]
    assert {path.resolve() for path in pages(site)} <= {path.resolve() for path in seen}


def test_the_site_is_small(site):
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 30e6
    large = [path.name for path in pages(site) if path.stat().st_size > 2.5e6]
    assert large == []


@pytest.mark.skipif("WORKBENCH_SITE" not in os.environ, reason="the site was built without running its pages")
def test_every_explanation_has_a_figure_that_the_engine_made(site):
    for page in (site / "explanation").glob("*.html"):
        outputs = re.split(r'class="cell_output', text(page))[1:]
        assert any('class="wb' in each or '<img alt="../_images/' in each or "<svg" in each for each in outputs), page.name


def test_a_tutorial_has_the_link_to_its_notebook(site):
    for page in (site / "tutorials").glob("*.html"):
        (download,) = [link for link in links(page) if link.endswith(".ipynb")]
        book = (page.parent / download).resolve()
        assert book.read_text() == (Path(__file__).parents[2] / "notebooks" / f"{page.stem}.ipynb").read_text()


def test_recordings_are_small_and_their_scripts_are_there_once(site):
    sizes = {path.name: sum(map(len, re.findall(r'class="wb-packed">([^<]*)', text(path)))) for path in pages(site)}
    assert 0 < max(sizes.values()) < 300_000
    for path in pages(site):
        assert ("recordings.js" in text(path)) == ('class="wb-recording"' in text(path)), path.name
    assert len([*site.rglob("recordings.js")]) == 1
