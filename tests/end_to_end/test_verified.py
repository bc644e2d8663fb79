"""The loop closed: a whole run against the sandbox, verified; found, cancelled and verified."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulkcancel.domo import READ_BACK
from bulkcancel.sandbox import Sandbox, SandboxOptions
from bulkcancel.sandbox.rules import never_settles
from tests.support.processes import Finished, bulkcancel, write_ids
from tests.support.runs import make_ids

pytestmark = pytest.mark.slow

V2, V1 = READ_BACK


@contextmanager
def _sandbox(**options: object) -> Iterator[str]:
    """A sandbox in a thread of its own; its address."""
    chosen = SandboxOptions.model_validate({"port": 0, "latency_s": 0, "jitter_s": 0, **options})
    addresses: list[str] = []
    started = threading.Event()

    async def serve() -> None:
        async with Sandbox(chosen) as sandbox:
            addresses.append(sandbox.base_url)
            loops.append(asyncio.get_running_loop())
            stop = asyncio.Event()
            stops.append(stop)
            started.set()
            await stop.wait()

    loops: list[asyncio.AbstractEventLoop] = []
    stops: list[asyncio.Event] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield addresses[0]
    finally:
        loops[0].call_soon_threadsafe(stops[0].set)
        thread.join()


def _run(cwd: Path, address: str, ids: list[str], *options: str) -> Finished:
    write_ids(cwd / "ids.txt", ids)
    target = ("--base-url", address, "--rate", "500", "--verify", "--verify-timeout", "3s")
    return bulkcancel("run", "ids.txt", *target, *options, cwd=cwd)


def test_two_thousand_runs_that_settle_are_all_seen_to_stop(tmp_path: Path) -> None:
    """All but the one in a hundred that never stops: that is unconfirmed, and nothing else is."""
    ids = make_ids(2000)
    with _sandbox(settle_s=1.0, never_settle=0.01) as address:
        done = _run(tmp_path, address, ids)
    never = {each for each in ids if never_settles(each, 0.01)}
    assert 5 < len(never) < 50
    assert done.code == 1
    assert {r["instanceId"] for r in done.rows() if r["outcome"] == "unconfirmed"} == never
    assert Counter(r["outcome"] for r in done.rows())["canceled"] >= 2000 - len(never) - 10
    assert sorted(r["instanceId"] for r in done.rows()) == sorted(ids)


@pytest.mark.parametrize(
    ("options", "outcome"),
    [({"no_v2": True}, "canceled"), ({"no_readback": True}, "accepted")],
)
def test_without_the_better_call_or_without_any(
    tmp_path: Path, options: dict[str, bool], outcome: str
) -> None:
    """v1 takes v2's place; without both all rows stay accepted, and one warning says so."""
    ids = [each for each in make_ids(300) if each[-3:] not in {"d0e", "ca0", "404", "403", "fa1"}]
    with _sandbox(settle_s=0.5, **options) as address:
        done = _run(tmp_path, address, ids)
    assert done.code == 0
    assert {row["outcome"] for row in done.rows()} == {outcome}
    assert len(done.events("verification.ended")) == (outcome == "accepted")


def test_found_cancelled_and_seen_to_stop(tmp_path: Path) -> None:
    """find, run, verify: what was stuck is stuck no more."""
    with _sandbox(settle_s=0.0, executions=1000) as address:
        target = ("--base-url", address, "--rate", "500")
        assert bulkcancel("find", *target, "-o", "stuck.csv", cwd=tmp_path).code == 0
        run = bulkcancel("run", "stuck.csv", *target, "--ok", "forbidden", cwd=tmp_path)
        assert run.code == 0
        assert {row["outcome"] for row in run.rows()} == {"accepted", "forbidden"}
        done = bulkcancel("verify", "results.csv", *target, cwd=tmp_path)
        again = bulkcancel("find", *target, "-o", "left.csv", cwd=tmp_path)
    assert (done.code, done.stdout, again.code) == (0, "", 0)
    assert {row["outcome"] for row in done.rows()} == {"canceled", "forbidden"}
    found = [row["instanceId"] for row in done.rows("stuck.csv")]
    assert len(found) > 500
    forbidden = [row["instanceId"] for row in done.rows() if row["outcome"] == "forbidden"]
    assert sorted(row["instanceId"] for row in done.rows("left.csv")) == sorted(forbidden)
