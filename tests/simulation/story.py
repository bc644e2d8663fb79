"""What happened in a world: every exchange with Domo, every run, every results file."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING

from bulkcancel.engine import Stats
from bulkcancel.models import UNSEEN, CancelResult, Outcome
from tests.simulation.world import BAD, Fate, World

if TYPE_CHECKING:
    from tests.simulation.exchange import Exchange, Look


@dataclass(slots=True)
class Run:
    """One run of the tool, from start to end."""

    number: int
    began_at: float
    before: dict[str, bytes] = field(default_factory=dict)
    """The line of every ID in the results file when it began."""
    failed_before: frozenset[str] = frozenset()
    """IDs that the file had as `failed`."""
    done_before: frozenset[str] = frozenset()
    """IDs that had a row and are not to be sent again."""
    absent: frozenset[str] = frozenset()
    """IDs that its input does not hold."""
    targets: list[str] = field(default_factory=list)
    """The IDs it was given, in order."""
    read_at: dict[str, float] = field(default_factory=dict)
    """When the engine took each of them from the input."""
    lines: list[bytes] = field(default_factory=list)
    """The whole rows in the file when it had ended, the last one of each ID."""
    rows: list[CancelResult] = field(default_factory=list)
    """The same, as results."""
    older: list[tuple[CancelResult, bytes]] = field(default_factory=list)
    """The other rows there, which come before another one of the same ID, and their lines."""
    part_of_a_row: bytes = b""
    """What came after them."""
    before_update: bytes | None = None
    """The file just before what was found was brought into it; `None` if it did not come to it."""
    kept: Counter[Outcome] = field(default_factory=Counter)
    """What it says of the rows of earlier runs that were not replaced."""
    written_lines: list[bytes] = field(default_factory=list)
    """As `lines`, but before that."""
    written_rows: list[CancelResult] = field(default_factory=list)
    looks_ended: list[tuple[float, str]] = field(default_factory=list)
    """When, and why, it said that accepted IDs are no longer looked at."""
    stats: Stats = field(default_factory=Stats)
    reason: BaseException | None = None
    """Why it ended early."""
    crash: str = ""
    """The traceback of what should never be raised."""
    ended_at: float = 0.0
    hung: bool = False
    killed_at: float | None = None
    torn: frozenset[str] = frozenset()
    """IDs whose rows were lost with the tail of the file."""
    signalled_at: float | None = None
    cut_at: float | None = None
    stopped_at: float | None = None
    """When it was first asked to end, by whomever."""
    full_at: float | None = None
    """When the disk was found full."""
    due: dict[tuple[str, float], float] = field(default_factory=dict)
    """When an ID was to be sent again, by ID and the time of the attempt that failed."""
    breaker: list[tuple[float, bool]] = field(default_factory=list)
    bugs: list[str] = field(default_factory=list)

    @property
    def through(self) -> bool:
        """Whether it has worked through all it was given."""
        return self.reason is None and self.killed_at is None and not self.crash and not self.hung

    @property
    def worked_until(self) -> float:
        """When it was asked to end; when it ended if it was not."""
        return self.ended_at if self.stopped_at is None else self.stopped_at

    @property
    def rows_may_be_lost(self) -> bool:
        """Whether it ended before it could write all that it knew."""
        return self.killed_at is not None or self.full_at is not None or self.hung

    @property
    def unseen_before(self) -> set[str]:
        """The IDs of earlier runs that are looked at."""
        rows = {row.instance_id for row in self.written_rows if row.outcome in UNSEEN}
        return rows & self.done_before

    @property
    def new_rows(self) -> list[CancelResult]:
        """The rows that this run has written, as they were before looks brought them up to date."""
        return [
            row
            for row, line in zip(self.written_rows, self.written_lines, strict=True)
            if self.before.get(row.instance_id) != line
        ]

    @property
    def times_open(self) -> list[tuple[float, float]]:
        """From when until when the breaker was open, each time."""
        changes = [*self.breaker, (self.ended_at, False)]
        return [(at, until) for (at, opened), (until, _) in pairwise(changes) if opened]

    def is_open(self, at: float) -> bool:
        """Whether the breaker was open at a time."""
        before = [opened for when, opened in self.breaker if when <= at]
        return bool(before) and before[-1]


class Story:
    """All that happened in a world."""

    def __init__(self, world: World, ids: list[str]) -> None:
        self.world = world
        self.ids = ids
        self.fate_of = {each: Fate(letter) for each, letter in zip(ids, world.fates, strict=True)}
        self.exchanges: list[Exchange] = []
        """Cancels."""
        self.looks: list[Look] = []
        self.runs: list[Run] = []
        self.events: list[tuple[float, str]] = []
        self.healed_at: float | None = None
        """From when on nothing goes wrong any more, so that the world ends."""
        self.unfinished = False
        """Whether it was given up after too many runs."""

    def tell(self, at: float, text: str) -> None:
        """Keep a line for whoever replays the world."""
        self.events.append((at, text))

    def is_bad(self, instance_id: str) -> bool:
        """Whether an ID always fails."""
        return self.fate_of[instance_id] in BAD

    @cached_property
    def by_run(self) -> dict[int, list[Exchange]]:
        """The exchanges of each run, as they were sent."""
        found: dict[int, list[Exchange]] = defaultdict(list)
        for each in self.exchanges:
            found[each.run].append(each)
        return found

    @cached_property
    def looks_by_run(self) -> dict[int, list[Look]]:
        """The looks of each run, as they were sent."""
        found: dict[int, list[Look]] = defaultdict(list)
        for each in self.looks:
            found[each.run].append(each)
        return found

    @cached_property
    def by_id(self) -> dict[tuple[int, str], list[Exchange]]:
        """The exchanges about each ID in each run."""
        found: dict[tuple[int, str], list[Exchange]] = defaultdict(list)
        for each in self.exchanges:
            found[each.run, each.instance_id].append(each)
        return found

    def first_attempts(self, run: Run) -> list[Exchange]:
        """Return the first attempt of each ID in a run that told something of the server.

        Not those of IDs that had failed before: they may fail for reasons of their own.
        """
        first: dict[str, Exchange] = {}
        for each in self.by_run[run.number]:
            if each.failed or each.final:
                first.setdefault(each.instance_id, each)
        return [e for each, e in first.items() if each not in run.failed_before]

    def outages_seen(self, run: Run) -> list[float]:
        """Return when the breaker opened, but for a 401 alone: then attempts begin anew."""
        doubts = self.doubts(run)
        return [at for at, opened in run.breaker if opened and at not in doubts]

    def doubts(self, run: Run) -> dict[float, float]:
        """Return from when until when the breaker was open for a 401 alone."""
        refused = {e.answered_at for e in self.by_run[run.number] if e.unauthorized}
        return {at: until for at, until in run.times_open if at in refused}

    def input_went_on_at(self, run: Run) -> float:
        """Return when the input had its pause behind it; when the run began if there was none."""
        times = sorted(run.read_at.values())
        read = len(times) if self.world.pause is None else self.world.pause[0]
        return times[read] if read < len(times) else run.began_at

    def stalled_s(self, from_s: float, to_s: float) -> float:
        """Return for how long the process was stopped between two times."""
        spans = [(at, at + for_s) for at, for_s in self.world.stalls]
        return sum(max(0.0, min(to_s, end) - max(from_s, at)) for at, end in spans)

    def all_tried(self, run: Run) -> bool:
        """Whether of each ID that a run has read an attempt has told something of the server.

        Those behind IDs that failed before may not be read yet: these can fill the queue.
        """
        told = {
            e.instance_id for e in self.by_run[run.number] if e.reply is not None and not e.free
        }
        given = run.targets if self.world.pause is None else run.read_at
        read = takewhile(lambda each: each not in run.failed_before, given)
        return told >= set(read)

    def untried(self, run: Run, at: float) -> int:
        """How many IDs of a run that have not failed before were read by then, but not sent."""
        tried = {e.instance_id for e in self.by_run[run.number] if e.sent_at <= at}
        read = [each for each, read_at in run.read_at.items() if read_at <= at]
        if self.world.pause is None:  # the input is a file: there is always more of it
            read = run.targets
        return sum(each not in tried and each not in run.failed_before for each in read)
