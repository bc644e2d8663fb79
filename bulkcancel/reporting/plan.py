"""What a run is about to do, shown before it does it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bulkcancel.quantities import count_of, show_duration
from bulkcancel.reporting.breakdown import breakdown_event, breakdown_rows
from bulkcancel.reporting.terminal import print_table
from bulkcancel.text import shorten, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from bulkcancel.models import Breakdown, InvalidRow
    from bulkcancel.quantities import Shard

_NAMED = 3
_ONLY_ON_SCREEN = frozenset(
    {"inputs", "breakdown", "left_out_by_where", "in_shard", "listed", "beyond_limit"}
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known before the first request; `to_cancel` is `None` for a pipe.

    Its fields are the keys of the log event, except those that are `_ONLY_ON_SCREEN`.
    """

    host: str
    proxy: str
    inputs: str
    to_cancel: int | None
    breakdown: Breakdown
    """What the inputs say of those; nothing for a pipe."""
    already_done: int
    duplicates: int
    left_out_by_where: int
    shard: Shard | None
    in_shard: int | None
    """IDs that belong to the shard; `None` for a pipe."""
    listed: int
    """IDs of all shards."""
    beyond_limit: int
    invalid: Sequence[InvalidRow]
    rate_per_s: float | None
    """Of this shard alone, where there are shards."""
    concurrency: int
    output: str
    verify_s: float | None
    """How long an accepted ID is asked after; `None`: not at all."""
    unseen: int
    """IDs that an earlier run has left to be asked after."""
    notes: Sequence[str]

    @property
    def asked_about(self) -> str:
        """What a person confirms, as in `3 runs (1 of them over already)`."""
        if self.to_cancel is None:
            return "the listed runs"
        ended = sum(self.breakdown.ended.values())
        runs = count_of(self.to_cancel, "run")
        return f"{runs} ({ended:,} of them over already)" if ended else runs

    def as_event(self) -> dict[str, object]:
        """Return the keys of the log event; of invalid rows it has the number."""
        names = (each.name for each in fields(self) if each.name not in _ONLY_ON_SCREEN)
        return {name: getattr(self, name) for name in names} | {
            "shard": str(self.shard or ""),
            "invalid": len(self.invalid),
            **breakdown_event(self.breakdown),
        }


def print_plan(console: Console, plan: Plan) -> None:
    """Print the plan as a short table."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")

    def row(name: str, text: str, style: str = "") -> None:
        table.add_row(name, Text(visible(text), style))

    row("host", plan.host, "bold")
    if plan.proxy:
        row("proxy", plan.proxy)
    row("input", plan.inputs)
    if plan.shard is not None:
        share = (
            "" if plan.in_shard is None else f": {plan.in_shard:,} of {count_of(plan.listed, 'ID')}"
        )
        row("shard", f"{plan.shard} by hash{share}")
    row("to cancel", "as they come" if plan.to_cancel is None else f"{plan.to_cancel:,}", "bold")
    for each in breakdown_rows(plan.breakdown):
        row(*each)
    for count, name, text in (
        (plan.already_done, "done before", ""),
        (plan.duplicates, "duplicates", " (sent once)"),
        (plan.left_out_by_where, "left out", " by --where"),
        (plan.beyond_limit, "left out", " beyond --limit"),
    ):
        if count:
            row(name, f"{count:,}{text}")
    for name, text in _invalid_rows(plan.invalid):
        row(name, text, "yellow")
    row("pace", _pace(plan))
    if plan.verify_s is not None:
        row("verify", _verify(plan))
    row("results", plan.output)
    for note in plan.notes:
        row("note", note)
    print_table(console, table)


def _invalid_rows(invalid: Sequence[InvalidRow]) -> Iterator[tuple[str, str]]:
    if invalid:
        yield "invalid", f"{len(invalid):,} (nothing is sent for them)"
    for bad in invalid[:_NAMED]:
        yield "", f"{bad.source}: {shorten(bad.text, 50)!r}: {bad.reason}"
    if len(invalid) > _NAMED:
        yield "", f"… and {len(invalid) - _NAMED:,} more"


def _verify(plan: Plan) -> str:
    text = f"asked after until stopped, {show_duration(plan.verify_s or 0)} each at most"
    if plan.unseen:
        text += f", and {plan.unseen:,} that were accepted before"
    return f"{text} (an unofficial call, read-only)"


def _pace(plan: Plan) -> str:
    shards = plan.shard.count if plan.shard is not None else 1
    at_a_time = f"{plan.concurrency} at a time"
    if plan.rate_per_s is None:
        return f"auto{' for this shard alone' if shards > 1 else ''}, {at_a_time}"
    share = f" (1/{shards} of {plan.rate_per_s * shards:g})" if shards > 1 else ""
    text = f"{plan.rate_per_s:g} a second at most{share}, {at_a_time}"
    if not plan.to_cancel:
        return text
    return f"{text}: about {show_duration(plan.to_cancel / plan.rate_per_s)}"
