"""What becomes of instances once their cancel was accepted, and what a look is told of it."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from bulkcancel.domo import READ_BACK
from bulkcancel.domo.answers import Answer, InstanceBody
from tests.simulation.world import Fate

if TYPE_CHECKING:
    from tests.simulation.exchange import Look
    from tests.simulation.story import Story
    from tests.simulation.world import Looks

V2, V1 = READ_BACK
_RUNNING = "IN_PROGRESS"


def answer(
    status: int, message: str, *, is_object: bool = True, retry_after_s: float | None = None
) -> Answer:
    """Return an answer that names no instance."""
    return Answer(status, None, is_object, message, retry_after_s, 0.01)


def accepted(instance_id: str, status: str | None) -> Answer:
    """Return an answer that names an instance and its state."""
    instance = InstanceBody.model_construct(
        id=instance_id, status=status, modelId=None, modelName="Invoices", modelVersion="1.0.0"
    )
    return Answer(200, instance, True, "", None, 0.01)


class Instances:
    """The instances of a world: when each stops does not depend on what it is asked."""

    def __init__(self, looks: Looks, story: Story) -> None:
        self._looks = looks
        self._story = story
        self._stops: dict[str, tuple[float, str]] = {}
        """When, and as what, those that were cancelled stop."""

    def cancel(self, instance_id: str, now: float, status: str | None) -> str | None:
        """Cancel one; return its state, which is `status` where the world does not know better."""
        if instance_id not in self._stops:
            at, word = self._end_of(instance_id, now)
            if status == "CANCELED":
                at, word = now, status
            self._stops[instance_id] = at, word
        at, word = self._stops[instance_id]
        if at <= now:
            return word
        return None if status is None else _RUNNING

    def seen(self, look: Look, now: float) -> Answer:
        """Return what one of the calls says of an instance."""
        span = self._looks.v2 if look.call == V2 else self._looks.v1
        if span is None or not span[0] <= now < span[1]:
            return answer(self._looks.missing_status, "no such resource")
        if (
            look.call == V2
            and self._rng(look.instance_id, "v2").random() < self._looks.unknown_share
        ):
            return answer(404, "no such execution")
        at, word = self._stops.get(look.instance_id, (math.inf, ""))
        if word == "CANCELED" and look.call == V2:
            word = "CANCELLED"
        return accepted(look.instance_id, word if at <= now else _RUNNING)

    def _end_of(self, instance_id: str, now: float) -> tuple[float, str]:
        looks, rng = self._looks, self._rng(instance_id, "end")
        if self._story.fate_of[instance_id] is Fate.COMPLETED:
            return now, "COMPLETED"
        if rng.random() < looks.never_share:
            return math.inf, ""
        word = "CANCELED"
        if rng.random() < looks.by_itself_share:
            word = rng.choice(("COMPLETED", "FAILED"))
        return now + rng.uniform(0, looks.settle_s), word

    def _rng(self, instance_id: str, what: str) -> random.Random:
        return random.Random(f"{self._story.world.seed}: {what} of {instance_id}")
