"""How well clients find a limit that nobody has told them: nginx's `limit_req`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.bench.measure import make_ids, table, write_csv
from tests.bench.peers import HERE
from tests.support.nginx_server import Limit, NginxOptions, NginxServer, nginx_server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_IDS = 3000
_STEADY = ((0.0, 100),)
_DROP = ((0.0, 100), (10.0, 20), (25.0, 100))


def limits(folder: Path) -> str:
    """Measure every client at a steady limit and at one that drops and returns."""
    ids = make_ids(_IDS)
    write_csv(folder / "ids.csv", ids)
    clients = {"bulkcancel, ceiling 1,000/s": _bulkcancel, "plain retries": _retries("plain")}
    if importlib.util.find_spec("botocore"):
        clients["botocore's adaptive limiter"] = _retries("botocore")
    rows = []
    for name, changes in (("100/s", _STEADY), ("100, 20, 100/s", _DROP)):
        for client, command in clients.items():
            rows.append((client, name, *_measure(folder, ids, command, changes)))
    header = ("client", "limit", "accepted/s from 5 s on", "of the limit", "429s", "IDs accepted")
    return table(header, rows)


def _bulkcancel(folder: Path, base_url: str) -> list[str]:
    return [
        *(sys.executable, "-m", "bulkcancel", "run", str(folder / "ids.csv"), "--yes"),
        *("--base-url", base_url, "-o", str(folder / "out.csv"), "--overwrite"),
        *("--rate", "1000", "--concurrency", "32"),
    ]


def _retries(kind: str) -> Callable[[Path, str], list[str]]:
    def command(folder: Path, base_url: str) -> list[str]:
        script = str(HERE / "peer_retries.py")
        return [
            *(sys.executable, script, kind, str(folder / "ids.csv"), base_url),
            str(folder / "peer.csv"),
        ]

    return command


def _measure(
    folder: Path,
    ids: list[str],
    command: Callable[[Path, str], list[str]],
    changes: Sequence[tuple[float, int]],
) -> tuple[str, str, str, str]:
    first = _limit(changes[0][1])
    with nginx_server(NginxOptions(limit=first, access_log=True)) as server:
        began = time.time()
        process = subprocess.Popen(
            command(folder, server.base_url),
            cwd=HERE.parents[1],
            env={"PATH": "/usr/bin:/bin", "DOMO_DEVELOPER_TOKEN": "token", "HOME": str(folder)},
            stderr=subprocess.DEVNULL,
        )
        for at_s, rate in changes[1:]:
            time.sleep(max(0.0, began + at_s - time.time()))
            if process.poll() is None:
                server.reload(_limit(rate))
        process.wait()
        return _figures(server, ids, began, changes)


def _limit(rate: int) -> Limit:
    return Limit(rate, burst=10, nodelay=True)


def _figures(
    server: NginxServer, ids: list[str], began: float, changes: Sequence[tuple[float, int]]
) -> tuple[str, str, str, str]:
    logged = server.logged()
    accepted = [each for each in logged if each.status == 200]
    started = logged[0].at
    ended = accepted[-int(len(accepted) * 0.01) - 1].at  # a straggler's back-off is not the pace
    from_s = started + 5
    spans = [(began + at, rate) for at, rate in changes] + [(float("inf"), 0)]
    allowed = sum(
        rate * max(0.0, min(end, ended) - max(start, from_s))
        for (start, rate), (end, _) in pairwise(spans)
    )
    late = sum(from_s <= each.at < ended for each in accepted)
    share = sum(each.status == 429 for each in logged) / len(logged)
    return (
        f"{late / (ended - from_s):.1f}",
        f"{late / allowed:.1%}",
        f"{share:.1%}",
        f"{len({each.instance_id for each in accepted}):,} of {len(ids):,}",
    )
