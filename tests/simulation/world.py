"""A world: all that one simulated job meets, as plain values that can be printed and pasted."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field

from bulkcancel.models import SENT_AGAIN, Outcome


class Fate(enum.StrEnum):
    """What Domo thinks of one ID; one letter each, so that a world's IDs are a short text."""

    GOOD = "."
    COMPLETED = "c"
    NOT_FOUND = "n"
    REJECTED = "r"
    FORBIDDEN = "f"
    BROKEN = "x"
    """Always answers 500."""
    MISTAKEN = "o"
    """Always answers about another instance, as a cache may."""
    SILENT = "h"
    """Never answers."""


BAD = frozenset({Fate.BROKEN, Fate.MISTAKEN, Fate.SILENT})
"""Fates of IDs that always fail."""


class Kind(enum.StrEnum):
    """What can go wrong on the way to Domo, and there."""

    ERROR = "500"
    UNAVAILABLE = "503"
    BAD_GATEWAY = "502"
    GATEWAY_TIMEOUT = "504"
    REFUSED = "connection refused"
    DISCONNECTED = "disconnected"
    SILENCE = "silence"
    GARBAGE = "garbage"
    STRANGER_404 = "404 as HTML"
    STRANGER_403 = "403 as HTML"
    STRANGER_200 = "200 as HTML"
    OTHER = "answer about another instance"
    LOST = "answer lost"
    """The cancel is carried out."""
    SLOW = "slow"
    THROTTLED = "429"
    UNAUTHORIZED = "401"


NO_FAILURE = frozenset({Kind.SLOW, Kind.THROTTLED, Kind.UNAUTHORIZED})
"""Kinds that are no outage: they use up no attempt, but for a 401 that stays."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that goes wrong with a share of the requests for some time of the world."""

    kind: Kind
    from_s: float = 0.0
    for_s: float = math.inf
    share: float = 1.0
    retry_after_s: float | None = None
    """What 503 and 429 say; `None`: nothing."""

    @property
    def is_outage(self) -> bool:
        """Whether nothing gets through while it lasts."""
        return self.share == 1 and self.kind not in NO_FAILURE


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of requests: a leaky bucket, or a window of so many seconds; it may change."""

    rate_per_s: float
    window_s: float | None = None
    """`None`: a leaky bucket."""
    says_when: bool = False
    changes: tuple[tuple[float, float], ...] = ()
    """From which second of the world on it is which rate."""


class How(enum.StrEnum):
    """How one run is ended from outside."""

    NOT = "not"
    TERM = "SIGTERM"
    KILL = "kill -9"
    FULL = "disk full"
    REWRITE = "kill -9 in the last rewrite"
    """After the last row, where old ones are about to be taken out; else it is through."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What ends one run, if it is not through before."""

    how: How = How.NOT
    at_s: float = 0.0
    """In seconds of the run."""
    second_after_s: float | None = None
    """When a second SIGTERM comes, after the first."""
    torn: float = 0.0
    """The share of the group written last that is lost with a `kill -9`, as in a power cut."""
    room: int = 0
    """Bytes that still fit on the disk."""


Span = tuple[float, float]
"""From which second of the world until which."""
_ALWAYS = (0.0, math.inf)


@dataclass(frozen=True, slots=True)
class Looks:
    """What verification meets: when instances stop, who tells of it, and what goes wrong."""

    timeout_s: float = 20.0
    v2: Span | None = _ALWAYS
    """When the better one of the two calls is there; `None`: never."""
    v1: Span | None = _ALWAYS
    missing_status: int = 404
    """What a call that is not there is answered."""
    settle_s: float = 5.0
    """The longest time from a cancel until the instance has stopped."""
    never_share: float = 0.0
    """Instances that never stop."""
    by_itself_share: float = 0.0
    """Instances that end as COMPLETED or FAILED, as they were through before."""
    unknown_share: float = 0.0
    """Instances that v2 does not know."""
    troubles: tuple[Trouble, ...] = ()
    """What goes wrong with looks alone, besides what goes wrong with all requests."""

    @property
    def outages(self) -> tuple[Trouble, ...]:
        """Those in which no look gets through, and none is asked to come later."""
        return tuple(each for each in self.troubles if each.is_outage and not each.retry_after_s)


@dataclass(frozen=True, slots=True)
class World:
    """One job from its first run to the end: what is asked for, and all that goes wrong."""

    fates: str
    """One letter for each ID, in their order."""
    pause: tuple[int, float] | None = None
    """After how many IDs the input is silent, and for how long, as a pipe may be."""
    failed_before: int = 0
    """So many IDs at the end of the input have a `failed` row of an earlier day."""
    rate_per_s: float | None = 20.0
    burst: int = 1
    concurrency: int = 8
    attempts: int = 5
    timeout_s: float = 5.0
    grace_s: float = 10.0
    max_outage_s: float = 60.0
    deadline_s: float | None = None
    max_failures: int | None = None
    max_failure_share: float | None = None
    latency_s: float = 0.05
    connect_s: float = 0.0
    """How long the first connections of a run take."""
    slow_share: float = 0.0
    slow_s: float = 0.0
    idle_share: float = 0.0
    """Requests that meet a connection which was closed while idle."""
    shortage_share: float = 0.0
    """Requests for which there is no file descriptor."""
    again_status: int = 200
    """What a second cancel of the same instance gets."""
    limit: Limit | None = None
    troubles: tuple[Trouble, ...] = ()
    stalls: tuple[tuple[float, float], ...] = ()
    """From which second of the world on the process is stopped, and for how long."""
    write_s: float = 0.0
    sync_s: float = 0.0
    results_buffer: int = 2048
    """Results that may wait for the disk; the engine's own number, but when it is to be full."""
    csv: bool = True
    endings: tuple[Ending, ...] = ()
    """How the first runs end; the others are left alone."""
    absent_share: float = 0.0
    """IDs that a resumed run is not given, as of a pipe; one that is given all comes after it."""
    gap_s: float = 2.0
    """Between the end of a run and the next."""
    tomorrow: bool = False
    """Whether what has failed is sent once more when all is done."""
    looks: Looks | None = None
    """What verification meets; `None`: there is none."""
    unconfirmed_again: bool = True
    """Whether resumed runs send again what was `unconfirmed`."""
    seed: int = 0
    """Of all that is random while it is played."""
    outages: tuple[tuple[float, float], ...] = field(init=False, repr=False, default=())
    """When nothing gets through, overlapping ones as one; made from `troubles`."""

    def __post_init__(self) -> None:
        spans: list[tuple[float, float]] = []
        for each in sorted((t.from_s, t.from_s + t.for_s) for t in self.troubles if t.is_outage):
            if spans and each[0] <= spans[-1][1]:
                spans[-1] = spans[-1][0], max(spans[-1][1], each[1])
            else:
                spans.append(each)
        object.__setattr__(self, "outages", tuple(spans))

    @property
    def again(self) -> frozenset[Outcome]:
        """Outcomes whose IDs a resumed run sends again."""
        return SENT_AGAIN if self.unconfirmed_again else SENT_AGAIN - {Outcome.UNCONFIRMED}
