"""The pace against a limiter that nobody here wrote: nginx's `limit_req`."""

from __future__ import annotations

import time
from collections.abc import Sequence

import anyio
import pytest

from bulkcancel.engine.engine import Policy
from bulkcancel.models import Outcome
from tests.support.nginx_server import Limit, Logged, NginxOptions, NginxServer, nginx_server
from tests.support.runs import Run, make_ids

pytestmark = [pytest.mark.slow, pytest.mark.alone]

POLICY = Policy(rate_per_s=1000, concurrency=16)


def _limit(rate_per_s: int) -> Limit:
    return Limit(rate_per_s, burst=10, nodelay=True)


def _run(
    server: NginxServer, ids: list[str], changes: Sequence[tuple[float, int]] = ()
) -> list[float]:
    """Return when each change of the limit was in force, as the server's clock has it."""
    run = Run(server.base_url, POLICY)
    changed = []

    async def change() -> None:
        for after_s, rate_per_s in changes:
            await anyio.sleep(after_s)
            await anyio.to_thread.run_sync(server.reload, _limit(rate_per_s))
            changed.append(time.time())

    async def work() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(change)
            await run.work(ids)
            tasks.cancel_scope.cancel()

    anyio.run(work)
    assert run.outcomes() == {Outcome.ACCEPTED: len(ids)}
    return changed


def _accepted_per_s(logged: list[Logged], since: float, from_s: float, to_s: float) -> float:
    return sum(from_s <= x.at - since < to_s for x in logged if x.status == 200) / (to_s - from_s)


@pytest.mark.timeout(180)
def test_a_limit_that_falls_to_a_fifth_and_returns_is_followed() -> None:
    """Found, slower at once, faster again: nearly all of it is used, and no ID is failed by it."""
    with nginx_server(NginxOptions(limit=_limit(100), access_log=True)) as server:
        fell, returned = _run(server, make_ids(960), changes=[(4, 20), (3.5, 100)])
        logged = server.logged()
    assert _accepted_per_s(logged, logged[0].at, 2, 4) >= 95
    assert 17 <= _accepted_per_s(logged, fell, 1, 3.5) <= 21
    assert _accepted_per_s(logged, returned, 4, 6) >= 90
    assert sum(x.status == 429 for x in logged) <= 0.03 * len(logged)
