"""What a server sees of the ceiling: never more than it, and nearly all of it."""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path

import pytest

from tests import faulty_answers as answers
from tests.faulty_answers import Answer
from tests.faulty_server import FaultyServer, running_in_thread
from tests.processes import bulkcancel, write_ids
from tests.runs import make_ids

pytestmark = pytest.mark.slow


def _seen(directory: Path, rate: int, seconds: int) -> list[float]:
    """When the server sees the requests of a run of so many seconds."""
    directory.mkdir()
    write_ids(directory / "ids.txt", make_ids(rate * seconds))
    server = FaultyServer(lambda i, _n: Answer(answers.ok(i).data, delay_s=0.05))
    with running_in_thread(server):
        done = bulkcancel(
            "run", "ids.txt", "--base-url", server.base_url, "--rate", str(rate),
            "--concurrency", "96", cwd=directory,
        )  # fmt: skip
        at = sorted(seen.at for seen in server.requests)
    assert done.code == 0, done.stderr
    assert len(at) == rate * seconds
    return at


@pytest.mark.parametrize(("rate", "seconds"), [(20, 4), (200, 4), (1000, 4)])
def test_the_server_sees_the_ceiling_and_no_more(tmp_path: Path, rate: int, seconds: int) -> None:
    """With answers that take 50 ms: evenly spaced from the first on, no second above it.

    A machine that stands still for a moment makes the server see late what was sent in time: it
    may do so once or twice, not three times.
    """
    for turn in "abc":
        at = _seen(tmp_path / turn, rate, seconds)
        mean_per_s = (len(at) - 1) / (at[-1] - at[0])
        fullest = max(bisect_left(at, start + 1) - n for n, start in enumerate(at))
        if mean_per_s >= 0.96 * rate and fullest <= max(rate + 1, 1.02 * rate):
            break
    assert 0.96 * rate <= mean_per_s <= 1.005 * rate
    assert fullest <= max(rate + 1, 1.02 * rate)


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
    assert max(bisect_left(at, start + 1) - n for n, start in enumerate(at)) <= 21
