"""The figures of the last run as a text file that Prometheus's node exporter collects.

Loaded for `--metrics` alone: no other run pays for Prometheus's library.
"""

from __future__ import annotations

import os
import re
import stat
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from bulkcancel.errors import UsageError
from bulkcancel.models import Outcome
from bulkcancel.results import descriptor_of, write_whole
from bulkcancel.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from bulkcancel.reporting.summary import Summary

_LAST_RUN = "bulkcancel_last_run"
_SUCCESS = "bulkcancel_last_success_timestamp_seconds"
_READABLE = 0o644  # the node exporter has a user of its own; no ID and no token is in it
_LARGEST = 1 << 20
_SUCCESS_BEFORE = re.compile(
    rf'^{_SUCCESS}\{{name="(.*)"\}} ([0-9]+(?:\.[0-9]+)?(?:e\+[0-9]+)?)$', re.MULTILINE
)


def write_metrics(path: str, summary: Summary) -> None:
    """Write the figures of a run; the time of the last success stays if this was none.

    A plain file is replaced whole, all else is written in place, `-` is standard output. Raises
    `UsageError`.
    """
    name = _name_of(path)
    try:
        succeeded_s = None if summary.exit_code else _seconds(summary.ended_at)
        if succeeded_s is None:
            succeeded_s = _last_success_s(path, name, before_s=_seconds(summary.ended_at))
        write_whole(path, _text(summary, name, succeeded_s), mode=_READABLE)
    except OSError as error:
        raise UsageError(f"cannot write the metrics {path}: {error.strerror}") from None


def _name_of(path: str) -> str:
    """Return what tells this job's series from those of others on the machine: the file's name.

    The node exporter refuses a series that two files hold. Files of one directory have names of
    their own, which stay from night to night, as the results file's need not.
    """
    return "stdout" if path == "-" else visible(Path(path).name.removesuffix(".prom"))


def _text(summary: Summary, name: str, succeeded_s: float | None) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_LastRun(summary, name, succeeded_s))
    return generate_latest(registry)


class _LastRun(Collector):
    """All are gauges: they tell of one run, and the next one may be smaller.

    The node exporter refuses a metric of which two files say something else, such as those of two
    versions of bulkcancel: no help text is ever changed.
    """

    def __init__(self, summary: Summary, name: str, succeeded_s: float | None) -> None:
        self._summary = summary
        self._name = name
        self._succeeded_s = succeeded_s

    def collect(self) -> Iterator[Metric]:
        run = self._summary
        labels = {"host": visible(run.host), "shard": run.shard, "version": run.version}
        yield self._gauge("info", "What the last run was about; always 1.", [(labels, 1)])
        yield self._gauge(
            "result_rows",
            "Rows that the last run has written, by outcome.",
            [({"outcome": str(each)}, run.stats.outcomes[each]) for each in Outcome],
        )
        for figure, said, value in self._figures():
            yield self._gauge(figure, said, [({}, value)])
        if self._succeeded_s is not None:
            said = "When the last run with exit code 0 ended."
            yield self._family(_SUCCESS, said, [({}, self._succeeded_s)])

    def _figures(self) -> Sequence[tuple[str, str, float]]:
        run, stats = self._summary, self._summary.stats
        return (
            ("input_rows", "Input rows that the last run has read.", run.rows_in),
            ("earlier_rows", "Input rows that an earlier run had done.", run.already_done),
            ("duplicate_rows", "Input rows whose ID had come before.", run.duplicates),
            ("filtered_rows", "Input rows left out, or of other shards.", run.filtered),
            ("unanswered_rows", "IDs sent without a final answer.", run.unanswered),
            ("not_reached_rows", "IDs and invalid rows not reached.", run.not_reached),
            ("requests", "Cancels that the last run has sent, retries included.", stats.requests),
            ("retries", "Of its requests, those of IDs sent before.", stats.retries),
            ("throttles", "Answers that said to go slower.", stats.throttled),
            ("looks", "Requests that asked what has become of an ID.", stats.looks),
            ("duration_seconds", "How long the last run has taken.", run.seconds),
            ("start_timestamp_seconds", "When the last run began.", _seconds(run.started_at)),
            ("end_timestamp_seconds", "When the last run ended.", _seconds(run.ended_at)),
            ("exit_code", "Exit code of the last run.", run.exit_code),
        )

    def _gauge(
        self, name: str, said: str, samples: Sequence[tuple[Mapping[str, str], float]]
    ) -> Metric:
        return self._family(f"{_LAST_RUN}_{name}", said, samples)

    def _family(
        self, name: str, said: str, samples: Sequence[tuple[Mapping[str, str], float]]
    ) -> Metric:
        family = GaugeMetricFamily(name, said, labels=["name", *samples[0][0]])
        for labels, value in samples:
            family.add_metric([self._name, *labels.values()], value)
        return family


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _last_success_s(path: str, name: str, *, before_s: float) -> float | None:
    """Return when the job last succeeded, by the file that is there; `None` if it does not say.

    One that lies in the future, as after a clock that was wrong, would keep an alert silent.
    """
    try:
        if path == "-" or descriptor_of(Path(path)) is not None:
            return None
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - reading a FIFO would wait
            return None
        with Path(path).open(encoding="utf-8", errors="replace", newline="\n") as file:
            found = _SUCCESS_BEFORE.findall(file.read(_LARGEST))
    except OSError:
        return None
    escaped = name.replace("\\", r"\\").replace('"', r"\"")
    times = [float(number) for other, number in found if other == escaped]
    return next((each for each in times if each <= before_s), None)
