"""`--metrics`: a text file that the node exporter takes, whatever the names in it."""

from __future__ import annotations

import math
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from bulkcancel.engine import Stats
from bulkcancel.errors import UsageError
from bulkcancel.models import Outcome
from bulkcancel.reporting import Summary
from bulkcancel.reporting.metrics import write_metrics
from bulkcancel.text import visible
from tests.support.processes import bulkcancel, environment, write_ids
from tests.support.runs import make_ids

posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX files")

SUCCESS = "bulkcancel_last_success_timestamp_seconds"
RUN = "bulkcancel_last_run_"
_ENDED_S = 1772600467.5
HOSTILE = [
    'a"b',
    "a\\b",
    "a\\",
    "a\nb 1\nbulkcancel_last_run_exit_code 0",
    "\x1b[2J",
    "é\u202e",
    "{}",
]


def _stats() -> Stats:
    stats = Stats(requests=70, retries=6, throttled=5, looks=4)
    stats.outcomes.update({Outcome.ACCEPTED: 50, Outcome.FAILED: 3})
    return stats


def summary_of_a_run(**figures: object) -> Summary:
    """The summary of a run that some IDs failed of; `figures` are other ones."""
    usual = Summary(
        version="0.1.0", host="acme.domo.com", inputs=["a.csv"], shard="", output="r.csv",
        exit_code=1, reason="", rows_in=100, duplicates=10, filtered=5, other_shards=0,
        unanswered=2, not_reached=13, results=70, already_done=17, kept_failures=0, looks_ended="",
        stats=_stats(), started_at="2026-03-04T05:00:00.500Z", ended_at="2026-03-04T05:01:07.500Z",
        seconds=67.25, resume_command="", resume_needs="", ok=[],
    )  # fmt: skip
    return replace(usual, **figures)  # type: ignore[arg-type]


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _read(path: Path) -> Series:
    """What a file holds, as Prometheus's own reader sees it; every series once, all gauges."""
    families = list(text_string_to_metric_families(path.read_text("utf-8")))
    assert {family.type for family in families} == {"gauge"}
    samples = [sample for family in families for sample in family.samples]
    series = {(each.name, frozenset(each.labels.items())): each.value for each in samples}
    assert len(series) == len(samples)
    return series


def _of(series: Series, name: str) -> list[float]:
    return [value for (each, _), value in series.items() if each == name]


def test_the_figures_of_the_summary_are_there(tmp_path: Path) -> None:
    """Each with the file's name, all outcomes, those without a row too; and they add up."""
    path = tmp_path / "nightly.prom"
    run = summary_of_a_run()
    write_metrics(str(path), run)
    series = _read(path)
    assert all(("name", "nightly") in labels for _, labels in series)
    plain = {name.removeprefix(RUN): value for (name, labels), value in series.items()
             if len(labels) == 1}  # fmt: skip
    assert plain == {
        "input_rows": 100, "earlier_rows": 17, "duplicate_rows": 10, "filtered_rows": 5,
        "unanswered_rows": 2, "not_reached_rows": 13, "requests": 70, "retries": 6, "throttles": 5,
        "looks": 4, "duration_seconds": 67.25, "start_timestamp_seconds": _ENDED_S - 67,
        "end_timestamp_seconds": _ENDED_S, "exit_code": 1,
    }  # fmt: skip
    rows = {dict(labels)["outcome"]: value for (name, labels), value in series.items()
            if name == f"{RUN}result_rows"}  # fmt: skip
    assert rows == {str(each): float(run.stats.outcomes[each]) for each in Outcome}
    ends = sum(value for name, value in plain.items() if name.endswith("_rows")) - 100
    assert sum(rows.values()) + ends == plain["input_rows"]
    ((_, labels),) = [each for each in series if each[0] == f"{RUN}info"]
    assert dict(labels) == {
        "name": "nightly", "host": "acme.domo.com", "shard": "", "version": "0.1.0"
    }  # fmt: skip


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool of Prometheus")
def test_promtool_finds_no_fault(tmp_path: Path) -> None:
    """Neither in the format nor in the names; the same check does find a bad name."""
    path = tmp_path / "nightly.prom"
    write_metrics(str(path), summary_of_a_run(exit_code=0, host='a"b\\c\nd'))
    good = path.read_text("utf-8")
    for text in (good, good.replace(f"{RUN}requests", f"{RUN}requests_count")):
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert bool(done.returncode or done.stderr) is (text != good), done.stderr


def test_the_last_success_outlives_failures(tmp_path: Path) -> None:
    """It is that of the last run with exit code 0; before the first one there is none."""
    path = tmp_path / "nightly.prom"
    write_metrics(str(path), summary_of_a_run())
    assert _of(_read(path), SUCCESS) == []
    write_metrics(str(path), summary_of_a_run(exit_code=0))
    assert _of(_read(path), SUCCESS) == [_ENDED_S]
    for code in (1, 4):
        later = f"2026-03-0{code + 4}T05:01:07.500Z"
        write_metrics(str(path), summary_of_a_run(exit_code=code, ended_at=later))
        assert _of(_read(path), SUCCESS) == [_ENDED_S]
        assert _of(_read(path), f"{RUN}exit_code") == [code]
    write_metrics(str(path), summary_of_a_run(exit_code=0, ended_at="2026-03-09T05:01:07.500Z"))
    assert _of(_read(path), SUCCESS) == [_ENDED_S + 5 * 86_400]


@pytest.mark.parametrize(
    "before",
    [
        "",
        "not a metric at all\n",
        f'{SUCCESS}{{name="weekly"}} 1.7e+09\n',
        f'{SUCCESS}{{name="nightly"}} 1.9e+09\n',
        f'{SUCCESS}{{name="nightly"}} 1e+999\n',
        f'{SUCCESS}{{name="nightly"}} NaN\n',
        f'{SUCCESS}{{name="nightly"}} 1.7e+09.5\n',
        f'# {SUCCESS}{{name="nightly"}} 1.7e+09\n',
        "\0\udcff" * 100,
    ],
)
def test_what_is_not_our_last_success_is_none(tmp_path: Path, before: str) -> None:
    """Another job's, one that is yet to come, no number, another program's file."""
    path = tmp_path / "nightly.prom"
    path.write_bytes(before.encode("utf-8", "surrogateescape"))
    write_metrics(str(path), summary_of_a_run())
    assert _of(_read(path), SUCCESS) == []
    path.write_text(f'{SUCCESS}{{name="nightly"}} 1.7e+09\n')
    write_metrics(str(path), summary_of_a_run())
    assert _of(_read(path), SUCCESS) == [1.7e9]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_harmless(tmp_path: Path, name: str) -> None:
    """They add no line and no series, and are read back as what a person may see."""
    plain, path = tmp_path / "plain.prom", tmp_path / f"{name}.prom"
    write_metrics(str(plain), summary_of_a_run())
    write_metrics(str(path), summary_of_a_run(host=name, exit_code=1))
    assert path.read_bytes().count(b"\n") == plain.read_bytes().count(b"\n")
    assert b"\x1b" not in path.read_bytes()
    series = _read(path)
    assert len(series) == len(_read(plain))
    assert all(("name", visible(name)) in labels for _, labels in series)
    ((_, labels),) = [each for each in series if each[0] == f"{RUN}info"]
    assert dict(labels)["host"] == visible(name)


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), max_size=20))
@settings(max_examples=20)
def test_whatever_the_name_the_last_success_is_found(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """What is written is what is read back."""
    path = tmp_path_factory.mktemp("named") / f"x{name}.prom"
    write_metrics(str(path), summary_of_a_run(exit_code=0))
    write_metrics(str(path), summary_of_a_run(exit_code=1))
    series = _read(path)
    assert _of(series, SUCCESS) == [_ENDED_S]
    assert all(math.isfinite(value) for value in series.values())


@posix
def test_the_node_exporter_may_read_it(tmp_path: Path) -> None:
    """It has a user of its own; a service's umask takes nothing from that."""
    path = tmp_path / "nightly.prom"
    umask = os.umask(0o077)
    try:
        write_metrics(str(path), summary_of_a_run())
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@posix
def test_a_fifo_is_not_read(tmp_path: Path) -> None:
    """Looking there for the last success would wait for a writer; nobody reads it either."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(UsageError, match=r"cannot write the metrics .*nobody reads it"):
        write_metrics(str(path), summary_of_a_run())


def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    """For a script that puts it somewhere itself."""
    write_metrics("-", summary_of_a_run())
    assert f'{RUN}exit_code{{name="stdout"}} 1.0\n' in capfd.readouterr().out


# The command


def test_the_command_writes_them_as_any_option_says(tmp_path: Path) -> None:
    """By a flag or a variable; after a success and after a failure, in a dry run not at all."""
    ids = write_ids(tmp_path / "ids.txt", make_ids(3))
    path = tmp_path / "job.prom"
    run = ("run", ids, "--sandbox", "--rate", "5000", "--overwrite")
    assert bulkcancel(*run, "--metrics", path, "--dry-run", cwd=tmp_path).code == 0
    assert not path.exists()
    assert bulkcancel(*run, "--metrics", path, cwd=tmp_path).code == 0
    (first,) = _of(_read(path), SUCCESS)
    write_ids(ids, [*make_ids(3), "x"])
    set_there = environment(BULKCANCEL_METRICS=str(path))
    failed = bulkcancel(*run, cwd=tmp_path, env=set_there)
    series = _read(path)
    assert (failed.code, _of(series, f"{RUN}exit_code")) == (1, [1])
    assert _of(series, SUCCESS) == [first]
    assert series[f"{RUN}result_rows", frozenset({("name", "job"), ("outcome", "invalid")})] == 1


def test_another_name_is_noted(tmp_path: Path) -> None:
    """The node exporter would not read it: not a mistake, as something may rename it later."""
    ids = write_ids(tmp_path / "ids.txt", make_ids(1))
    run = ("run", ids, "--sandbox", "--dry-run", "--metrics")
    for name, noted in (("job.txt", True), ("job.prom", False), ("/dev/stdout", False)):
        (plan,) = bulkcancel(*run, name, cwd=tmp_path).events("run.planned")
        assert ("names that end in .prom" in str(plan["notes"])) is noted


_WITHOUT = "import sys\nsys.modules['prometheus_client'] = None"


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--metrics", "m.prom"), 4)])
def test_the_library_is_loaded_for_this_option_alone(
    tmp_path: Path, options: tuple[str, ...], code: int
) -> None:
    """Where it is missing, that is said before anything is sent."""
    ids = write_ids(tmp_path / "ids.txt", make_ids(1))
    done = bulkcancel("run", ids, "--sandbox", *options, cwd=tmp_path, fault=_WITHOUT)
    assert done.code == code, done.stderr
    assert ("prometheus_client" in done.stderr) is bool(options)
    assert (tmp_path / "results.csv").exists() is not bool(options)


def test_metrics_that_cannot_be_written_at_the_end_are_said(tmp_path: Path) -> None:
    """The exit code is about the cancels."""
    ids = write_ids(tmp_path / "ids.txt", make_ids(1))
    fault = """
from bulkcancel.results import atomic
def refuse(temporary, path):
    raise OSError(28, "No space left on device")
atomic._take_the_place = refuse
"""
    done = bulkcancel("run", ids, "--sandbox", "--metrics", "m.prom", cwd=tmp_path, fault=fault)
    assert done.code == 0
    (lost,) = done.events("metrics.lost")
    assert lost["reason"] == "cannot write the metrics m.prom: No space left on device"
    assert not list(tmp_path.glob("*.prom*"))
