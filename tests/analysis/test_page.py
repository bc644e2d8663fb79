"""The page: whatever a file or server says stays text, and it is never large."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from bulkcancel.analysis import as_page
from bulkcancel.models import CancelResult, Outcome
from bulkcancel.results.codec import Format
from tests.analysis.test_reading import figures_of
from tests.support.results import content, result
from tests.support.runs import make_ids

HOSTILE = "</script></style><img src=x onerror=alert(1)>\"'{{ 7*7 }}\x1b[2J\u202e"
FAILURES = [each for each in Outcome if each not in {"accepted", "canceled", "completed"}]


class _Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words += data


def _page(*rows: CancelResult) -> str:
    return as_page(figures_of(content(Format.JSONL, *rows)))


def _hostile(instance_id: str, outcome: Outcome) -> CancelResult:
    return result(
        instance_id, outcome, model_name=HOSTILE, model_version=HOSTILE, model_id=HOSTILE,
        error=HOSTILE, host=HOSTILE, source=HOSTILE, status=HOSTILE,
    )  # fmt: skip


def test_hostile_text_is_text() -> None:
    """In every place where it stands: no element, no attribute, no control or bidi character."""
    ids = make_ids(len(Outcome))
    rows = [_hostile(each, outcome) for each, outcome in zip(ids, Outcome, strict=True)]
    rows.append(_hostile(HOSTILE, Outcome.INVALID))
    page = _page(*rows)
    found, plain = (
        _Elements(page),
        _Elements(_page(*(result(r.instance_id, r.outcome) for r in rows))),
    )
    assert set(found.tags) == set(plain.tags)
    assert "img" not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "src"]
    assert not {"\x1b", "\u202e"} & set(page)
    assert found.words.count("<img src=x onerror=alert(1)>\"'{{ 7*7 }}\\x1b[2J\\u202e") > 15


def test_only_its_own_script_and_style_may_run() -> None:
    """The policy names them by hash and allows nothing else; no address stands in the page."""
    page = _page(result(make_ids(1)[0], Outcome.FAILED))
    policy = page.split('Content-Security-Policy" content="')[1].split('"')[0]
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        told = b64encode(sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{told}'" in policy
    assert "http://" not in page
    assert "https://" not in page
    assert " style=" not in page


@pytest.mark.parametrize("error", ["server_error: HTTP 503", "<&\"'" * 200, "é😀" * 200])
def test_a_page_is_small_however_much_has_failed(error: str) -> None:
    """It says how many failures stand elsewhere; the rare ones are all there."""
    ids = make_ids(4_000)
    rows = [result(each, Outcome.FAILED, error=error, model_name=error) for each in ids[1:]]
    page = _page(*rows, result(ids[0], Outcome.FORBIDDEN))
    assert len(page.encode()) < 2_000_000
    shown = page.count("<tr><td>")
    (more,) = re.findall(r"the results file has the other ([0-9,]+)", page)
    assert shown + int(more.replace(",", "")) == 4_000
    assert shown > 300
    assert f"<tr><td>{ids[0]}</td><td>forbidden</td>" in page


@pytest.mark.parametrize("outcome", Outcome)
def test_one_row_makes_a_page(outcome: Outcome) -> None:
    """Whatever its outcome, with or without a latency."""
    for latency_ms in (None, 0.0, 0.1, 1e9):
        page = _page(result(make_ids(1)[0], outcome, latency_ms=latency_ms))
        assert f"</svg>{outcome}</th>" in page
        assert ('id="failures"' in page) == (outcome in FAILURES)


def test_a_number_of_attempts_that_nothing_can_hold_is_no_fault() -> None:
    """It counts as a great many: a damaged cell takes no page, text or figure away."""
    rows = [result(each, attempts=9 * 10**4299) for each in make_ids(2)]
    figures = figures_of(content(Format.JSONL, *rows))
    assert figures.attempts == 2 * 10**9
    assert "requests a second" in as_page(figures)
