"""The figures as one page that needs nothing else: it can be opened, sent and printed anywhere.

Every text of a file or server goes through the template's escaping; nothing is loaded, and the
only script that may run is the page's own.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bulkcancel.analysis.advice import steps
from bulkcancel.analysis.charts import latency_chart, outcomes_chart, requests_chart
from bulkcancel.analysis.figures import OUTCOMES, QUANTILES, failed_of, iso
from bulkcancel.analysis.groups import rest_of
from bulkcancel.analysis.text import show_ms, show_name, show_rate
from bulkcancel.models import MEANINGS
from bulkcancel.quantities import show_duration
from bulkcancel.results import timestamp
from bulkcancel.text import shorten, visible
from bulkcancel.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bulkcancel.analysis.figures import Figures
    from bulkcancel.analysis.timeline import Times
    from bulkcancel.models import CancelResult

_HERE = Path(__file__).parent
_MOST_BYTES = 900_000
"""Of failures: the page stays under 2 MB whatever they hold."""
_MOST_MODELS = 30


class Part(NamedTuple):
    """One outcome, or one model's."""

    word: str
    ids: int
    share: float
    meaning: str


class Failure(NamedTuple):
    """One row whose outcome is a failure; safe to show."""

    instance_id: str
    outcome: str
    error: str
    model: str
    source: str
    finished_at: str


class ModelLine(NamedTuple):
    """One model of the table; safe to show."""

    name: str
    version: str
    id: str
    total: int
    failed: int
    pieces: Sequence[tuple[str, str, str]]
    """Outcome, place and width of each piece of its bar."""

    @classmethod
    def of(cls, names: Sequence[str], counts: Sequence[int]) -> ModelLine:
        """Return the line of a model's counts by outcome."""
        name, version, model_id = names
        return cls(name, version, model_id, sum(counts), failed_of(counts), _pieces(counts))


def as_page(figures: Figures) -> str:
    """Return the page, HTML in UTF-8 of less than 2 MB."""
    # The engine takes a tenth of a second to load: what needs no page does not pay for it.
    engine = import_module("jinja2")
    environment = engine.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=engine.StrictUndefined
    )
    environment.filters |= {
        "n": lambda count: f"{count:,}",
        "ms": show_ms,
        "rate": show_rate,
        "safe_text": visible,
    }
    template = environment.from_string((_HERE / "page.html.j2").read_text("utf-8"))
    style, script = ((_HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    failures = _failures(figures.failures)
    times, latencies = figures.times, figures.latencies
    charts = [outcomes_chart(times), requests_chart(times)] if times else []
    return str(
        template.render(
            style=style,
            script=script,
            style_hash=_hash(style),
            script_hash=_hash(script),
            version=VERSION,
            figures=figures,
            succeeded=figures.rows - figures.failed,
            **_span(times),
            parts=_parts(figures),
            charts=charts + ([latency_chart(latencies)] if latencies.count else []),
            quantiles={
                **{name: latencies.quantile_ms(q) for name, q in QUANTILES.items()},
                "max": latencies.max_ms if latencies.count else None,
            },
            models=_models(figures),
            errors=figures.errors,
            other_errors=sum(figures.other_errors),
            steps=steps(figures),
            failures=failures,
            failed_outcomes=list(dict.fromkeys(each.outcome for each in failures)),
            more=figures.failed - len(failures),
        )
    )


def _span(times: Times | None) -> dict[str, str]:
    """Return from when to when, and how long; the second date only where it is another."""
    if times is None:
        return {}
    began, ended = iso(times.first_ms)[:19], iso(times.last_ms)[:19]
    same_day = began[:10] == ended[:10]
    return {
        "began": began.replace("T", " "),
        "ended": ended[11:] if same_day else ended.replace("T", " "),
        "took": show_duration(times.seconds),
    }


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _parts(figures: Figures) -> list[Part]:
    return [
        Part(word, count, count / figures.rows, MEANINGS[word])
        for word, count in figures.outcomes.items()
    ]


def _models(figures: Figures) -> list[ModelLine]:
    """Return the biggest models, and what the others come to."""
    lines = [
        ModelLine.of(
            [show_name(group.key.name), show_name(group.key.version, ""),
             show_name(group.key.id, "")],
            group.counts,
        )
        for group in figures.models[:_MOST_MODELS]
    ]  # fmt: skip
    others = rest_of(figures.models[_MOST_MODELS:], figures.other_models)
    return [*lines, ModelLine.of(["(others)", "", ""], others)] if any(others) else lines


def _pieces(counts: Sequence[int]) -> list[tuple[str, str, str]]:
    """Return outcome, place and width of the pieces of a bar that is as wide as its cell."""
    pieces: list[tuple[str, str, str]] = []
    total, done = sum(counts), 0
    for word, count in zip(OUTCOMES, counts, strict=True):
        if count:
            pieces.append((word, f"{done / total:.3%}", f"{count / total:.3%}"))
        done += count
    return pieces


def _failures(rows: Sequence[CancelResult]) -> list[Failure]:
    """Return those that fit on the page."""
    failures, size = [], 0
    for row in rows:
        finished_at = timestamp(row.finished_at)[:19].replace("T", " ")
        name = f"{show_name(row.model_name)} {show_name(row.model_version, '')}".strip()
        failure = Failure(
            shorten(visible(row.instance_id), 80), row.outcome, shorten(visible(row.error), 300),
            name, shorten(visible(row.source), 120), finished_at,
        )  # fmt: skip
        size += 150 + sum(_bytes(text) for text in failure)
        if size > _MOST_BYTES:
            break
        failures.append(failure)
    return failures


def _bytes(text: str) -> int:
    """Return what a text takes on the page; an escaped character takes five."""
    return len(text.encode("utf-8", "replace")) + 4 * sum(map(text.count, "&<>\"'"))
