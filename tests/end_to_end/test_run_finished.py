"""What a run came to is told on every exit after the plan, and its figures add up."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console

from bulkcancel.cli.settings import RunSettings
from bulkcancel.cli.sources import Inputs
from bulkcancel.cli.wiring import summary_of
from bulkcancel.engine.stats import Stats
from bulkcancel.errors import BulkcancelError, InterruptedRunError, StoppedError
from bulkcancel.inputs.worklist import InputCounts
from bulkcancel.models import Outcome
from bulkcancel.reporting.summary import Summary, print_summary
from bulkcancel.version import VERSION
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import bulkcancel, write_ids
from tests.support.results import result
from tests.support.runs import make_ids

IDS = make_ids(20)
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
BROKEN_BEGIN = """
import os, signal
from bulkcancel import errors
from bulkcancel.results import results_file
def begin(self, *_):
    {fault}
results_file.ResultsFile.begin = begin
"""
BROKEN_WRITE = """
from bulkcancel.results import results_file
def write(self, results):
    raise self._fail("the disk is gone")
results_file.ResultsFile.write = write
"""
BROKEN_PLAN = """
from bulkcancel.reporting import display
def print_plan(console, plan):
    raise RuntimeError("a bug")
display.print_plan = print_plan
"""
ANSWERED_NO = """
from bulkcancel.cli.commands import run as run_command
run_command.is_interactive = lambda: True
run_command.confirm = lambda question: False
"""


def _begin(fault: str) -> str:
    return BROKEN_BEGIN.format(fault=fault)


ENDS = {
    "no": (ANSWERED_NO, 130, "not confirmed: nothing was sent"),
    "cannot be opened": (_begin("raise errors.OutputError('is a swamp')"), 2, "is a swamp"),
    "no room": (_begin("raise errors.ResultsError('no room')"), 5, "no room"),
    "a bug at the start": (_begin("raise KeyError('x')"), 4, "bulkcancel itself failed (KeyError)"),
    "a bug in the plan": (BROKEN_PLAN, 4, "bulkcancel itself failed (RuntimeError)"),
    "SIGTERM": (_begin("signal.raise_signal(signal.SIGTERM)"), 143, "SIGTERM: nothing was sent"),
    "SIGHUP": (_begin("signal.raise_signal(signal.SIGHUP)"), 129, "SIGHUP: nothing was sent"),
}


@posix
@pytest.mark.parametrize("end", ENDS)
def test_an_end_before_the_first_request(tmp_path: Path, end: str) -> None:
    """Whatever it was, it is in the log and in the summary, with every row accounted for."""
    fault, code, reason = ENDS[end]
    write_ids(tmp_path / "ids.txt", [*IDS, IDS[0], "x"])
    with running_in_thread(FaultyServer()) as server:
        options = ("--base-url", server.base_url, "--summary", "s.json", "--log-file", "log")
        look = ("--log-format", "console") if end == "a bug in the plan" else ()
        done = bulkcancel("run", "ids.txt", *options, *look, cwd=tmp_path, fault=fault)
        assert server.requests == []
    assert done.code == code, done.stderr
    assert "Traceback" not in done.stderr
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["exit_code"] == code
    assert reason in summary["reason"]
    assert (summary["rows_in"], summary["duplicates"], summary["not_reached"]) == (22, 1, 21)
    assert bool(summary["resume_command"]) is (end not in {"no", "cannot be opened"})
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    (finished,) = [each for each in events if each["event"] == "run.finished"]
    assert finished["reason"] == summary["reason"]


def test_results_lost_and_nothing_to_cancel(tmp_path: Path) -> None:
    """The worst end and the emptiest have a summary as well."""
    ids = write_ids(tmp_path / "ids.txt", IDS)
    with running_in_thread(FaultyServer()) as server:
        options = ("--base-url", server.base_url, "--summary", "s.json")
        done = bulkcancel("run", ids, *options, cwd=tmp_path, fault=BROKEN_WRITE)
        assert done.code == 5
        assert "the disk is gone" in json.loads((tmp_path / "s.json").read_text())["reason"]
        write_ids(ids, [])
        done = bulkcancel("run", ids, *options, "--overwrite", cwd=tmp_path)
    assert done.code == 0
    summary = json.loads((tmp_path / "s.json").read_text())
    assert (summary["exit_code"], summary["rows_in"], summary["reason"]) == (0, 0, "")
    assert len(done.events("run.finished")) == 1


def _summary(
    stats: Stats,
    *,
    rows: int = 100,
    error: BulkcancelError | None = None,
) -> Summary:
    """Of a run of 10 duplicates, 5 rows left out and 20 done before, with these figures."""
    counts = InputCounts(targets=rows - 15, duplicates=10, filtered=5)
    inputs = SimpleNamespace(counts=counts, names=["a.csv", "-"], already_done=20, listed=85)
    began = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
    return summary_of(
        RunSettings(), cast("Inputs", inputs), stats, None,
        host="acme.domo.com", error=error, started_at=began, seconds=1.23456,
    )  # fmt: skip


def _adds_up(summary: Summary) -> None:
    parts = (
        summary.results, summary.duplicates, summary.filtered, summary.unanswered,
        summary.not_reached,
    )  # fmt: skip
    assert sum(parts) == summary.rows_in
    assert min(parts) >= 0


def _printed(summary: Summary) -> str:
    text = io.StringIO()
    print_summary(Console(file=text, width=300), summary)
    return " ".join(text.getvalue().split())


def test_sent_without_a_final_answer_is_not_not_reached() -> None:
    """The reader of the summary must know that the server may have acted on those."""
    stats = Stats(outcomes=Counter({Outcome.ACCEPTED: 40}), requests=55, open_ids=set(IDS[:12]))
    summary = _summary(stats, error=InterruptedRunError("SIGTERM", 15))
    assert (summary.results, summary.unanswered, summary.not_reached) == (60, 12, 13)
    _adds_up(summary)
    assert summary.as_event()["unanswered"] == summary.as_dict()["unanswered"] == 12
    assert "12 sent, no final answer, 13 not reached" in _printed(summary)
    assert summary.reason == "interrupted by SIGTERM"


@pytest.mark.parametrize("rows", [35, 40, 75, 76, 80, 87, 88, 200])
def test_figures_add_up_whatever_came_late(rows: int) -> None:
    """Nothing is below zero where a row came after its ID was counted as unanswered."""
    done = max(min(rows - 35, 40), 0)
    stats = Stats(outcomes=Counter({Outcome.ACCEPTED: done}), open_ids=set(IDS[:12]))
    summary = _summary(stats, rows=rows)
    left = rows - 10 - 5 - 20 - done
    assert (summary.unanswered, summary.not_reached) == (min(12, left), max(left - 12, 0))
    _adds_up(summary)


def test_unanswered_alone_are_worth_a_resume() -> None:
    """All were sent; the one without an answer has no row yet."""
    stats = Stats(outcomes=Counter({Outcome.ACCEPTED: 64}), requests=65, open_ids={IDS[0]})
    summary = _summary(stats, error=StoppedError("an outage"))
    assert summary.not_reached == 0
    assert "--resume" in summary.resume_command


def test_times_version_and_inputs() -> None:
    """What somebody who finds the file needs to know which run it was."""
    summary = _summary(Stats())
    assert (summary.version, summary.inputs) == (VERSION, ["a.csv", "-"])
    assert summary.started_at == "2026-03-04T05:06:07.890Z"
    assert datetime.fromisoformat(summary.ended_at).tzinfo is UTC
    assert summary.ended_at.endswith("Z")


def test_failures_by_error_are_bounded() -> None:
    """A server that says something else to every ID fills neither the log nor the summary."""
    stats = Stats()
    rows = [
        result(x, Outcome.REJECTED, error=f"rejected: no {n}") for n, x in enumerate(make_ids(500))
    ]
    stats.count([*rows, *(rows[7] for _ in range(9))])
    summary = _summary(stats, rows=1000)
    assert 200 <= len(stats.grouped_errors()) <= 202
    logged = summary.as_event()["errors"]
    assert isinstance(logged, list)
    assert len(logged) == 20
    seventh = {"example": rows[7].instance_id, "source": rows[7].source}
    assert {"error": "rejected: no 7", "count": 10, **seventh} in logged


def test_failed_claims_no_more_than_it_knows() -> None:
    """One that a refused token or TLS has ended had no attempts to outlast."""
    stats = Stats(outcomes=Counter({Outcome.FAILED: 3}), requests=3)
    printed = _printed(_summary(stats))
    assert "failed 3 no final answer: see the error of each" in printed
    assert "outlasted" not in printed
