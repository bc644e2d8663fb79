"""What was sent to Domo, and what came of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bulkcancel.domo.answers import Answer
from bulkcancel.http.faults import IdleConnectionClosedError
from tests.simulation.world import NO_FAILURE, Trouble

if TYPE_CHECKING:
    from bulkcancel.http.faults import AttemptError


@dataclass(slots=True)
class Exchange:
    """One request and what came of it; times are the world's."""

    run: int
    instance_id: str
    begun_at: float
    """When it went for its connection."""
    sent_at: float
    after_stop: bool = False
    """Whether the run had been asked to end by then."""
    arrived_at: float | None = None
    trouble: Trouble | None = None
    """What kept Domo from saying what it thinks of the ID."""
    limited: bool = False
    """Whether the limit refused it."""
    bad: bool = False
    """Whether the ID itself is why it failed."""
    reply: Answer | AttemptError | None = None
    """What the run was given; `None` if it was gone before."""
    answered_at: float | None = None

    @property
    def heard_at(self) -> float:
        """When the run was given the reply; infinity if it never was."""
        return math.inf if self.answered_at is None else self.answered_at

    @property
    def free(self) -> bool:
        """Whether it met a connection closed while idle: that costs and tells nothing."""
        return isinstance(self.reply, IdleConnectionClosedError)

    @property
    def asks_for_less(self) -> bool:
        """Whether the answer says that there are too many requests: 429, or 503 with a time."""
        reply = self.reply
        if not isinstance(reply, Answer):
            return False
        status, pause_s = reply.http_status, reply.retry_after_s
        return status == 429 or (status == 503 and pause_s is not None)

    @property
    def asked_s(self) -> float:
        """For how long the answer asks to be left alone; 0 if it does not."""
        return (self.reply.retry_after_s or 0.0) if isinstance(self.reply, Answer) else 0.0

    @property
    def unauthorized(self) -> bool:
        """Whether it was told that the token is refused."""
        return isinstance(self.reply, Answer) and self.reply.http_status == 401

    @property
    def final(self) -> bool:
        """Whether the run was given Domo's own word on this ID."""
        other = self.failed or self.asks_for_less or self.free or self.unauthorized
        return self.reply is not None and not other

    @property
    def accepts(self) -> bool:
        """Whether Domo said that cancelling was asked for, and not that the run has stopped."""
        reply = self.reply
        if not isinstance(reply, Answer) or reply.instance is None:
            return False
        return reply.instance.status not in {"CANCELED", "COMPLETED"}

    @property
    def failed(self) -> bool:
        """Whether it failed in a way that may cost its ID an attempt."""
        if self.reply is None or self.free:
            return False
        if self.bad or isinstance(self.reply, Exception):  # such as an answer after the timeout
            return True
        return self.trouble is not None and self.trouble.kind not in NO_FAILURE

    @property
    def in_outage(self) -> bool:
        """Whether it failed while nothing got through."""
        return self.failed and self.trouble is not None and self.trouble.is_outage

    @property
    def ambiguous(self) -> bool:
        """Whether the run cannot know if the cancel was carried out."""
        if isinstance(self.reply, Exception):
            return self.reply.ambiguous
        if isinstance(self.reply, Answer) and not self.final:
            return self.reply.http_status in {502, 504} or self.reply.http_status < 300
        return False


@dataclass(slots=True)
class Look(Exchange):
    """One request that asked what has become of an ID, and what came of it."""

    call: str = ""

    @property
    def status(self) -> str | None:
        """What Domo said of this ID's state, `None` if nothing."""
        told = isinstance(self.reply, Answer) and self.reply.instance is not None
        return self.reply.instance.status if told else None  # type: ignore[union-attr]

    @property
    def refused(self) -> bool:
        """Whether the API said that there is no such call or ID, or no right to it."""
        reply = self.reply
        if not isinstance(reply, Answer) or reply.retry_after_s is not None:
            return False
        return reply.http_status in {403, 404} and reply.is_object
