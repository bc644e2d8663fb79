"""What a server sees of the ceiling: never more than it, and nearly all of it."""

from __future__ import annotations

import asyncio
import gc
import time
from bisect import bisect_left
from collections import Counter
from pathlib import Path

import pytest

from bulkcancel.ids import shard_of
from tests.support import faulty_answers as answers
from tests.support.faulty_answers import Answer
from tests.support.faulty_server import FaultyServer, running_in_thread
from tests.support.processes import bulkcancel, ended, running, write_ids
from tests.support.runs import make_ids

pytestmark = [pytest.mark.slow, pytest.mark.alone]


_TICK_S = 0.005


class _WatchedServer(FaultyServer):
    """A server that knows for how long its own event loop stood still at most.

    What arrives in such a time is seen late and all at once, however evenly it was sent: by so
    much the fullest second may be fuller than any that was sent.
    """

    stood_still_s = 0.0

    async def listen(self) -> None:
        gc.disable()  # among the objects of all tests it takes a fifth of a second
        await super().listen()
        self._ticking = asyncio.create_task(self._tick())

    async def refuse(self, *, drop: bool = True) -> None:
        self._ticking.cancel()
        await super().refuse(drop=drop)
        gc.enable()

    async def _tick(self) -> None:
        at = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            at, before = time.monotonic(), at
            self.stood_still_s = max(self.stood_still_s, at - before - _TICK_S)


def _seen(directory: Path, rate: int, seconds: int) -> tuple[list[float], float]:
    """When a server sees the requests of a run of so many seconds, and how late at most.

    Another run is made, up to five, where the server itself stood still.
    """
    for turn in range(5):
        folder = directory / str(turn)
        folder.mkdir()
        write_ids(folder / "ids.txt", make_ids(rate * seconds))
        server = _WatchedServer(lambda i, _n: Answer(answers.ok(i).data, delay_s=0.05))
        with running_in_thread(server):
            done = bulkcancel(
                "run", "ids.txt", "--base-url", server.base_url, "--rate", str(rate),
                "--concurrency", "96", cwd=folder,
            )  # fmt: skip
            at = sorted(seen.at for seen in server.requests)
        assert done.code == 0, done.stderr
        assert len(at) == rate * seconds
        if server.stood_still_s < 0.01:
            break
    return at, server.stood_still_s + _TICK_S


@pytest.mark.parametrize(("rate", "seconds"), [(20, 4), (200, 4), (1000, 4)])
def test_the_server_sees_the_ceiling_and_no_more(tmp_path: Path, rate: int, seconds: int) -> None:
    """With answers that take 50 ms: evenly spaced from the first on, no second above it."""
    at, late_s = _seen(tmp_path, rate, seconds)
    mean_per_s = (len(at) - 1) / (at[-1] - at[0])
    assert 0.96 * rate <= mean_per_s <= 1.005 * rate
    assert _fullest_second(at) <= max(rate + 1, 1.02 * rate + late_s * rate)


def _fullest_second(at: list[float]) -> int:
    """How many requests came within one second, whenever it began."""
    return max(bisect_left(at, start + 1) - n for n, start in enumerate(at))


EIGHT_SHARDS = """
import os, sys
import bulkcancel.cli.commands.run
shard = next((n for n in range(1, 8) if not os.fork()), 0)
sys.argv += ["--shard", f"{shard}/8", "-o", f"{shard}.csv"]
"""
"""Makes one process, its modules loaded, eight: each is the run of a shard of its own."""


def test_shards_at_work_at_once_send_each_id_once_and_share_the_rate(tmp_path: Path) -> None:
    """Eight processes and 10,000 IDs: together all rows, and no second above the whole rate."""
    ids, rate = make_ids(10_000), 1400
    write_ids(tmp_path / "ids.txt", ids)
    server = _WatchedServer()
    with running_in_thread(server):
        options = ("--base-url", server.base_url, "--rate", str(rate), "--deadline", "1m")
        with running("ids.txt", *options, cwd=tmp_path, fault=EIGHT_SHARDS) as run:
            done = ended(run, tmp_path, within_s=60)  # of all that have its standard error
        at = sorted(seen.at for seen in server.requests)
    finished = done.events("run.finished")
    assert [each["exit_code"] for each in finished] == [0] * 8, done.stderr
    assert {each["shard"] for each in finished} == {f"{n}/8" for n in range(8)}
    assert server.times_seen == Counter(ids)
    rows = [row["instanceId"] for n in range(8) for row in done.rows(f"{n}.csv")]
    assert sorted(rows) == sorted(ids)
    late_s = server.stood_still_s + _TICK_S
    assert _fullest_second(at) <= max(rate + 1, 1.02 * rate + late_s * rate)
    for n in range(8):
        its = [each.at for each in server.requests if shard_of(each.instance_id, 8) == n]
        assert 0.94 * rate <= 8 * (len(its) - 1) / (max(its) - min(its)) <= 1.005 * rate


LOOK_UP_STALLS = """
import socket, time
real = socket.getaddrinfo
def getaddrinfo(*arguments, **options):
    time.sleep(1.5)
    return real(*arguments, **options)
socket.getaddrinfo = getaddrinfo
"""


def test_what_stalled_at_the_start_is_not_sent_in_one_moment(tmp_path: Path) -> None:
    """While a name is looked up requests are let go one by one; they must not leave together."""
    write_ids(tmp_path / "ids.txt", make_ids(50))
    with running_in_thread(FaultyServer()) as server:
        base_url = server.base_url.replace("127.0.0.1", "localhost")
        options = ("--base-url", base_url, "--rate", "20", "--loop", "asyncio")
        done = bulkcancel("run", "ids.txt", *options, cwd=tmp_path, fault=LOOK_UP_STALLS)
        at = sorted(seen.at for seen in server.requests)
    assert done.code == 0, done.stderr
    assert len(at) == 50
    assert _fullest_second(at) <= 21
