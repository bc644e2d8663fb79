"""Worlds that have found a fault: each stays, as values of its own, whatever seeds draw."""

from __future__ import annotations

import pytest

from tests.simulation.invariants import violations
from tests.simulation.play import play
from tests.simulation.world import Ending, How, Kind, Looks, Trouble, World

FOUND = {
    "a stop after an outage blames no ID that failed before the breaker opened": World(
        fates="." * 70,
        rate_per_s=50.0,
        concurrency=1,
        attempts=1,
        max_outage_s=15.0,
        troubles=(Trouble(Kind.REFUSED, 1.0, 9.6),),
    ),
    "attempts that begin anew after an outage are counted as retries": World(
        fates="." * 50,
        rate_per_s=50.0,
        concurrency=1,
        attempts=1,
        troubles=(Trouble(Kind.UNAVAILABLE, 0.5, 4.0),),
    ),
    "requests that had to wait for a connection ask the breaker again": World(
        fates="." * 60,
        concurrency=16,
        connect_s=1.4,
        troubles=(Trouble(Kind.DISCONNECTED, 1.3, 6.0),),
    ),
    "late answers from before an outage do not hide it": World(
        fates="." * 300,
        rate_per_s=100.0,
        concurrency=8,
        slow_share=0.15,
        slow_s=1.5,
        troubles=(Trouble(Kind.UNAVAILABLE, 1.0, 6.0),),
    ),
    "retries that consumers had in hand do not fill the start of an outage": World(
        fates=".x" * 60,
        rate_per_s=10.0,
        concurrency=32,
        troubles=(Trouble(Kind.DISCONNECTED, 8.0, 11.6),),
    ),
    "connections slower than the pace do not keep the first request waiting": World(
        fates="." * 40,
        rate_per_s=2.0,
        concurrency=32,
        connect_s=0.75,
        max_outage_s=8.0,
    ),
    "a few IDs that always fail, alone, are no outage": World(
        fates="x" * 6, failed_before=6, max_outage_s=60.0, tomorrow=True
    ),
    "half of all IDs fail, and the good ones are not held up": World(
        fates=".x" * 60, rate_per_s=50.0, concurrency=16
    ),
    "a server that fails two times in three does not starve those that come again": World(
        fates="................c....f......f...........c.........r.f...............f....c............"
        "....n................r.............c......f.n.......r..r.",
        rate_per_s=50.0,
        concurrency=2,
        timeout_s=1.0,
        grace_s=0.0,
        max_outage_s=30.0,
        latency_s=0.005,
        connect_s=1.020940020499693,
        again_status=409,
        troubles=(
            Trouble(
                Kind.GATEWAY_TIMEOUT, 1.7687356469899773, 3.8309096671193625, 0.6280780013362856
            ),
        ),
        csv=False,
        seed=2476,
    ),
    "a suspended laptop is no outage, though it wakes up to a 429 with a time": World(
        fates="." * 120,
        rate_per_s=33.3,
        concurrency=16,
        max_outage_s=30.0,
        latency_s=0.5,
        stalls=((6.5, 74.0),),
        troubles=(Trouble(Kind.THROTTLED, 0.0, 8.0, retry_after_s=2.0),),
    ),
    "a connection closed while idle is no attempt: its ID can still tell of an outage": World(
        fates="." * 12,
        rate_per_s=7.5,
        concurrency=32,
        attempts=1,
        max_outage_s=30.0,
        latency_s=0.02,
        idle_share=0.3,
        troubles=(Trouble(Kind.STRANGER_200, 0.0, 5.3),),
        seed=32900,
    ),
    "a run that a refused token ends without a grace tells what it knows of each ID": World(
        fates="." * 104,
        pause=(104, 55.0),
        rate_per_s=33.3,
        concurrency=16,
        grace_s=0.0,
        latency_s=0.5,
        troubles=(Trouble(Kind.UNAUTHORIZED, 3.2879857364893588, 4.329312985095636),),
        seed=77892,
    ),
    "an outage of eight seconds fails nobody": World(
        fates="." * 120, concurrency=2, troubles=(Trouble(Kind.UNAVAILABLE, 2.0, 8.0),)
    ),
    "a look whose turn came before a stop is not sent after it": World(
        fates="." * 60,
        rate_per_s=100.0,
        concurrency=1,
        grace_s=5.0,
        latency_s=0.2,
        endings=(Ending(How.TERM, 9.0),),
        looks=Looks(timeout_s=0.5, never_share=1.0),
    ),
    "a 401 among good answers is no word on the ID that was looked at": World(
        fates="." * 12,
        looks=Looks(
            timeout_s=5.0, never_share=1.0, troubles=(Trouble(Kind.UNAUTHORIZED, share=0.5),)
        ),
    ),
    "a call that is used no longer says nothing about an ID when it refuses late": World(
        fates="." * 30,
        slow_s=3.0,
        looks=Looks(
            timeout_s=5.0, v2=None, never_share=1.0, troubles=(Trouble(Kind.SLOW, share=0.3),)
        ),
        seed=3,
    ),
    "a late answer tells which call is there, not that the other one is": World(
        fates="." * 12,
        slow_s=4.0,
        looks=Looks(
            timeout_s=5.0,
            v1=None,
            never_share=1.0,
            unknown_share=0.8,
            troubles=(Trouble(Kind.SLOW, share=0.5),),
        ),
        seed=49,
    ),
    "looks that are always throttled end": World(
        fates="." * 12, looks=Looks(never_share=1.0, troubles=(Trouble(Kind.THROTTLED),))
    ),
    "a limit of reads alone does not slow the cancels down": World(
        fates="." * 600,
        concurrency=16,
        looks=Looks(
            timeout_s=20.0,
            never_share=1.0,
            troubles=(Trouble(Kind.THROTTLED, 0.0, 36.0, 0.3),),
        ),
    ),
    "looks that hang do not have all consumers": World(
        fates="." * 200,
        concurrency=4,
        timeout_s=10.0,
        looks=Looks(troubles=(Trouble(Kind.SILENCE),)),
    ),
    "no look that is under way goes before the time that another was told": World(
        fates="." * 30,
        rate_per_s=50.0,
        looks=Looks(troubles=(Trouble(Kind.THROTTLED, share=0.3, retry_after_s=2.0),)),
    ),
    "a resumed run that is stopped early forgets no failure that it has not reached": World(
        fates="x" * 14,
        failed_before=14,
        rate_per_s=2.0,
        attempts=2,
        max_outage_s=15.0,
        endings=(Ending(How.TERM, 0.3),),
    ),
    "a resumed run that is not given all IDs leaves the rows of the others": World(
        fates="x" * 8 + "." * 8,
        failed_before=16,
        absent_share=0.5,
        endings=(Ending(How.TERM, 0.05), Ending(How.REWRITE), Ending(How.REWRITE)),
    ),
    "a shortage of descriptors before the first request is no outage of the server": World(
        fates="hh",
        rate_per_s=0.5,
        timeout_s=1.0,
        max_outage_s=8.0,
        shortage_share=0.5,
        troubles=(Trouble(Kind.STRANGER_404, 0.0, 7.0),),
        seed=2,
    ),
    "a probe is an untried ID, though one that failed before comes first": World(
        fates="xhhc.ox.xxxo.h..x.xxfh.o.xhh.on..fx..hxohx.ooo.x...ho.x.h.x.oo...h..xx....xxh.xoo..x.xhhx..",
        rate_per_s=50.0,
        concurrency=16,
        attempts=2,
        timeout_s=2.0,
        latency_s=0.02,
        seed=33791,
    ),
    "looks are not given up for a back-off of their own": World(
        fates="." * 40,
        looks=Looks(timeout_s=20.0, never_share=1.0, troubles=(Trouble(Kind.SILENCE, 4.0),)),
        seed=1,
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_worlds_that_found_a_fault_end_well(name: str) -> None:
    """What was wrong once stays right."""
    assert violations(play(FOUND[name])) == []
