"""What a person reads after a run: why IDs failed, and numbers of things."""

from __future__ import annotations

import io

import pytest
import structlog
from rich.console import Console

from bulkcancel.engine import Stats
from bulkcancel.quantities import count_of, show_duration
from bulkcancel.reporting.failures import print_failures
from bulkcancel.reporting.progress import Gauge
from bulkcancel.reporting.reporter import LogObserver
from tests.support.runs import make_ids

ID = make_ids(1)[0]
WAITS = "stopping: waits up to 10 s for"
ERRORS = [
    {"error": "forbidden: HTTP 403: this token's user may not edit this workflow's executions",
     "count": 1200, "example": ID, "source": "stuck runs.csv:17"},
    {"error": "invalid_id: empty", "count": 1, "example": "", "source": "stuck runs.csv:3"},
]  # fmt: skip


def _printed(width: int, errors: list[dict[str, object]]) -> list[str]:
    file = io.StringIO()
    print_failures(Console(file=file, width=width, highlight=False), errors)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_reasons_have_a_heading_an_indent_and_a_source(width: int) -> None:
    """Whatever the width: what is wrapped hangs beneath its text, an ID is in one piece."""
    lines = _printed(width, ERRORS)
    assert lines[0] == "Why they failed, and the first of each:"
    assert max(map(len, lines)) <= width
    assert lines[1].startswith("1,200 × forbidden: HTTP 403: ")
    assert lines[-2:] == ["    1 × invalid_id: empty", "        stuck runs.csv:3"]
    assert all(line.startswith("    ") for line in lines[2:-2])
    assert [line for line in lines if ID in line]
    if width >= 80:
        assert f"        {ID}  stuck runs.csv:17" in lines


def test_kinds_beyond_the_eighth_are_counted() -> None:
    """One more is one more kind."""
    errors = [{**ERRORS[1], "error": f"rejected: {n}"} for n in range(9)]
    assert _printed(80, errors)[-1] == "… and 1 more kind of error"


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [(1, "request", "1 request"), (0, "request", "0 requests"), (1234, "retry", "1,234 retries"),
     (1, "retry", "1 retry")],
)  # fmt: skip
def test_one_thing_is_no_plural(count: int, noun: str, said: str) -> None:
    """And of many, thousands have a comma."""
    assert count_of(count, noun) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.44, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"),
     (120, "2 min"), (200, "3 min 20 s"), (3600, "1 h"), (7500, "2 h 5 min")],
)  # fmt: skip
def test_durations_name_no_empty_parts(seconds: float, said: str) -> None:
    """Nobody says two minutes zero seconds."""
    assert show_duration(seconds) == said


@pytest.mark.parametrize(
    ("in_flight", "cut", "said"),
    [
        (16, False, f"{WAITS} 16 requests in flight; Ctrl-C again cuts them off"),
        (1, False, f"{WAITS} 1 request in flight; Ctrl-C again cuts them off"),
        (0, False, "stopping"),
        (16, True, "stopping: requests in flight are cut off"),
    ],
)  # fmt: skip
def test_a_stop_says_what_it_waits_for(in_flight: int, cut: bool, said: str) -> None:
    """How long, for how many requests, and how to end that."""
    gauge = Gauge(Stats(), 1, 10.0, lambda: 10.0)
    logger = structlog.testing.CapturingLogger()
    observer = LogObserver(structlog.wrap_logger(logger, processors=[]))
    observer.gauge = gauge
    observer.stopping("SIGINT", in_flight=in_flight, grace_s=10.0, cut=cut)
    assert gauge.state == said
