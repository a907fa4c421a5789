"""A real browser shows the whole page, at the widths of a desk and of a telephone."""

from __future__ import annotations

import base64
import re
import shutil

import numpy as np
import pytest
from support.browser import Browser
from support.reports import require

from mnist_estimator.compat import tf


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    require(path, "Chromium (apt-get install chromium)")
    browser = Browser(path, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.mark.parametrize("which", ["one", "two"])
@pytest.mark.parametrize("width", [1280, 375])
def test_a_browser_shows_all_of_the_page(pages, browser, tmp_path, which, width):
    path = tmp_path / "page.html"
    path.write_text(pages[which], encoding="utf-8")
    browser.open(path.as_uri(), width)
    assert browser.of("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []
    asked = [event["request"]["url"] for event in browser.of("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    root = "document.documentElement"
    assert browser.value(f"{root}.scrollWidth <= {root}.clientWidth")
    # What is wider than the window is so in a box that scrolls.
    outside = (
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll > *') && "
        "!e.closest('svg *') && e.getBoundingClientRect().right > innerWidth).length"
    )
    assert browser.value(outside) == 0
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert browser.value(broken) == 0
    columns = "getComputedStyle(document.querySelector('.runs')).gridTemplateColumns"
    side_by_side = which == "two" and width == 1280
    # Columns that nothing is in have no width.
    widths = [width for width in browser.value(columns).split() if width != "0px"]
    assert len(widths) == (2 if side_by_side else 1)
    shot = base64.b64decode(browser.call("Page.captureScreenshot")["data"])
    assert len(np.unique(tf.io.decode_png(shot).numpy())) > 50


def test_plots_and_page_follow_the_theme(pages, browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(pages["one"], encoding="utf-8")
    seen = {}
    for scheme in ("light", "dark"):
        browser.open(path.as_uri(), 1280, scheme)
        label = "getComputedStyle(document.querySelector('svg text')).fill"
        back = "getComputedStyle(document.body).backgroundColor"
        seen[scheme] = [
            sum(map(int, re.findall(r"\d+", browser.value(what))[:3])) for what in (label, back)
        ]
    assert seen["light"][0] < 200 < 600 < seen["light"][1]
    assert seen["dark"][1] < 200 < 600 < seen["dark"][0]
