"""Running the engine against a test server, and what it came to."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from dataclasses import dataclass, field

from anyio.streams.memory import MemoryObjectReceiveStream

from bulkcancel.domo.client import DomoClient
from bulkcancel.engine.engine import Engine, Policy
from bulkcancel.engine.stats import Stats
from bulkcancel.engine.stop import Stop
from bulkcancel.models import CancelResult, InvalidRow, Outcome, Target

TOKEN = "DDCI-canary-0123456789abcdef"


@dataclass
class Observed:
    """Everything the engine told its observer."""

    retries: list[str] = field(default_factory=list)
    scheduled: list[tuple[Target, int, float]] = field(default_factory=list)
    """For each of `retries`, its ID, which request it was, and the wait."""
    paces: list[tuple[float, str]] = field(default_factory=list)
    breaker: list[bool] = field(default_factory=list)
    bugs: list[Exception] = field(default_factory=list)
    verification: list[str] = field(default_factory=list)
    descriptors: int = 0

    def retry_scheduled(self, target: Target, error: str, attempt: int, wait_s: float) -> None:
        self.retries.append(error)
        self.scheduled.append((target, attempt, wait_s))

    def out_of_descriptors(self) -> None:
        self.descriptors += 1

    def pace_changed(self, rate_per_s: float, reason: str) -> None:
        self.paces.append((rate_per_s, reason))

    def breaker_changed(self, *, opened: bool) -> None:
        self.breaker.append(opened)

    def verification_ended(self, reason: str) -> None:
        self.verification.append(reason)

    def bug(self, target: Target, error: Exception) -> None:
        self.bugs.append(error)


class Run:
    """One run of the engine; keeps every result."""

    def __init__(self, base_url: str, policy: Policy, *, timeout_s: float = 5.0) -> None:
        self.policy = policy
        self.base_url = base_url
        self.timeout_s = timeout_s
        self.stop = Stop()
        self.stats = Stats()
        self.observed = Observed()
        self.results: list[CancelResult] = []

    async def work(self, ids: list[str]) -> None:
        async with DomoClient(
            base_url=self.base_url, token=TOKEN, timeout_s=self.timeout_s
        ) as client:
            self.engine = Engine(
                client, self.policy, stats=self.stats, stop=self.stop, observer=self.observed
            )
            items: list[Target | InvalidRow] = [
                Target(each, f"ids.txt:{n}") for n, each in enumerate(ids, 1)
            ]
            await self.engine.run(items, self._collect)

    async def _collect(self, results: MemoryObjectReceiveStream[CancelResult]) -> None:
        async for result in results:
            self.stats.count([result])
            self.results.append(result)

    def outcomes(self) -> Counter[Outcome]:
        return Counter(result.outcome for result in self.results)

    def of(self, instance_id: str) -> CancelResult:
        (result,) = [r for r in self.results if r.instance_id == instance_id]
        return result


def make_ids(count: int, seed: int = 1) -> list[str]:
    """Distinct IDs that the sandbox takes for running."""
    rng = random.Random(seed)
    return [str(uuid.UUID(int=rng.getrandbits(128), version=4))[:-3] + "aaa" for _ in range(count)]
