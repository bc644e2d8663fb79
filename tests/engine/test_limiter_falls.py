"""A real limiter, nginx's `limit_req`, that falls to a tenth in the middle of a run."""

from __future__ import annotations

import anyio
import pytest

from bulkcancel.engine.engine import Policy
from bulkcancel.models import Outcome
from tests.support.nginx_server import Limit, NginxOptions, nginx_server
from tests.support.runs import Run, make_ids

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def _limit(rate_per_s: int) -> Limit:
    return Limit(rate_per_s, burst=10, nodelay=True)


@pytest.mark.timeout(120)
def test_a_limit_that_falls_to_a_tenth_and_returns_fails_nobody() -> None:
    """Four seconds at 10 instead of 100 a second: few 429s, and every ID is accepted."""
    ids = make_ids(850)
    with nginx_server(NginxOptions(limit=_limit(100), access_log=True)) as server:
        run = Run(server.base_url, Policy(rate_per_s=1000, concurrency=16))

        async def change() -> None:
            for after_s, rate_per_s in ((4, 10), (4, 100)):
                await anyio.sleep(after_s)
                await anyio.to_thread.run_sync(server.reload, _limit(rate_per_s))

        async def work() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(change)
                await run.work(ids)
                tasks.cancel_scope.cancel()

        anyio.run(work)
        logged = server.logged()
    assert run.outcomes() == {Outcome.ACCEPTED: len(ids)}
    assert run.stop.reason is None
    assert {x.instance_id for x in logged if x.status == 200} == set(ids)
    accepted_at = [x.at - logged[0].at for x in logged if x.status == 200]
    assert 10 <= sum(5 <= at < 8 for at in accepted_at) <= 40  # the limit had fallen
    assert accepted_at[-1] < 30  # and has returned: at 10 a second it would have taken 45
    assert sum(x.status == 429 for x in logged) <= 0.03 * len(logged)
