"""The page in a real browser: no complaint, no request, names harmless, the filter works."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkcancel.analysis import as_page
from bulkcancel.models import Outcome
from bulkcancel.results.codec import Format
from tests.analysis.test_page import FAILURES, _hostile
from tests.analysis.test_reading import figures_of
from tests.support.browser import CHROMIUM, browser
from tests.support.results import content, result
from tests.support.runs import make_ids

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]
_VISIBLE = "[...document.querySelectorAll('#failures tbody tr')].filter(row => !row.hidden)"


def test_the_page_works_and_asks_for_nothing(tmp_path: Path) -> None:
    """In light and dark, wide and narrow; filter and outcome choose rows, whose IDs are copied."""
    ids = make_ids(40)
    rows = [_hostile(each, FAILURES[n % len(FAILURES)]) for n, each in enumerate(ids[:20])]
    rows += [result(each, Outcome.FAILED, error="timeout: no answer") for each in ids[20:23]]
    rows += [result(each) for each in ids[23:]]
    page = tmp_path / "page.html"
    page.write_text(as_page(figures_of(content(Format.JSONL, *rows))), "utf-8")
    with browser(tmp_path / "profile") as shown:
        for width, scheme in ((1200, "light"), (390, "dark")):
            shown.call(
                "Emulation.setDeviceMetricsOverride",
                width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
            )  # fmt: skip
            scheme_is = {"name": "prefers-color-scheme", "value": scheme}
            shown.call("Emulation.setEmulatedMedia", features=[scheme_is])
            shown.open(page)
            assert shown.complaints == []
            assert shown.requests == [page.as_uri()]
            assert (
                shown.evaluate("document.querySelectorAll('img, iframe, body script').length") == 1
            )
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
            dark = shown.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (dark == "rgb(18, 22, 29)") == (scheme == "dark")
        assert shown.evaluate(f"{_VISIBLE}.length") == 23
        shown.evaluate("words.value = 'TIMEOUT: no'; words.dispatchEvent(new Event('input'))")
        assert shown.evaluate(f"{_VISIBLE}.map(row => row.cells[0].textContent)") == ids[20:23]
        shown.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text }")
        shown.evaluate("copy.click()")
        assert shown.evaluate("window.copied") == "".join(f"{each}\n" for each in ids[20:23])
        shown.evaluate("words.value = ''; outcome.value = 'forbidden'")
        shown.evaluate("outcome.dispatchEvent(new Event('change'))")
        forbidden = sum(row.outcome is Outcome.FORBIDDEN for row in rows)
        assert shown.evaluate(f"{_VISIBLE}.length") == forbidden > 0
        assert shown.evaluate("shown.textContent") == f"{forbidden} shown"
        assert shown.complaints == []
