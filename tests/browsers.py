"""A headless Chromium for tests of pages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from evaluation_page import BROWSER, find_chromium


@contextlib.contextmanager
def open_browser(*flags: str) -> Iterator[Any]:
    """Playwright's browser, with further flags of Chromium; skips the test where one of the two is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (requirements/dev.txt)")
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium is installed (Debian, Ubuntu: apt-get install chromium)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*BROWSER, *flags])
        yield browser
        browser.close()
