"""Pace, latency, memory and start-up of bulkcancel alone, against figures that are absolute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from bisect import bisect_left
from datetime import datetime
from typing import TYPE_CHECKING

from tests.bench.measure import (
    CAN_PIN,
    SERVER_CPU,
    make_ids,
    measure,
    median,
    pinned,
    resident_mb,
    server_options,
    table,
    trust,
    write_csv,
)
from tests.bench.peers import HERE
from tests.support.nginx_server import nginx_server

if TYPE_CHECKING:
    from pathlib import Path

ROOT = HERE.parents[1]
ENV = {"DOMO_DEVELOPER_TOKEN": "token", "PYTHONPATH": str(ROOT)}
RUN = (sys.executable, "-m", "bulkcancel", "run")


def latency(folder: Path) -> str:
    """100 ms answers, 64 in flight: of the 640 a second that are possible, how many come."""
    write_csv(folder / "ids.csv", make_ids(12_800))
    command = [sys.executable, "-m", "bulkcancel", "sandbox", "--port", "0", "--token", "token"]
    command += ["--latency", "100ms", "--jitter", "0ms"]
    if CAN_PIN:
        command = ["taskset", "-c", str(SERVER_CPU), *command]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        base_url = server.stdout.readline().split()[-1]
        out = str(folder / "out.jsonl")
        options = ["--rate", "100000", "--concurrency", "64", "--base-url", base_url, "-o", out]
        measure([*RUN, str(folder / "ids.csv"), *options], cwd=folder, env=ENV)
        server.terminate()
    finished = sorted(_finished(folder / "out.jsonl"))
    middle = finished[len(finished) // 20 : -len(finished) // 20]
    per_s = (len(middle) - 1) / (middle[-1] - middle[0])
    return table(("answers", "in flight", "IDs/s", "of 640"), [
        ("100 ms", "64", f"{per_s:.0f}", f"{per_s / 640:.3f}")
    ])  # fmt: skip


def _finished(path: Path) -> list[float]:
    rows = (json.loads(line) for line in path.read_text().splitlines())
    return [datetime.fromisoformat(row["finishedAt"]).timestamp() for row in rows]


def paced(folder: Path) -> str:
    """What nginx sees of a ceiling: the mean, and the fullest second wherever it begins."""
    rows = []
    for rate, seconds in ((10, 20), (100, 15), (1000, 12), (5000, 12)):
        write_csv(folder / "ids.csv", make_ids(rate * seconds))
        with nginx_server(server_options(access_log=True)) as server:
            options = ["--rate", str(rate), "--concurrency", "64", "--base-url", server.base_url]
            options += ["-o", str(folder / "out.csv"), "--overwrite"]
            measure([*RUN, str(folder / "ids.csv"), *options], cwd=folder, env=ENV)
            at = sorted(each.at for each in server.logged())
        mean = (len(at) - 1) / (at[-1] - at[0])
        fullest = max(bisect_left(at, start + 0.9995) - n for n, start in enumerate(at))
        rows.append((f"{rate:,}", f"{mean / rate:.4f}", f"{fullest:,}", f"{fullest / rate:.3f}"))
    return table(("ceiling a second", "mean of it", "fullest second", "of the ceiling"), rows)


def memory(folder: Path) -> str:
    """A million IDs: resident memory once the input is checked, in the middle, at the end."""
    count = 1_000_000
    write_csv(folder / "ids.csv", make_ids(count))
    small = folder / "small.csv"
    write_csv(small, make_ids(1000))
    rows = []
    with nginx_server(server_options()) as server:
        for path, ids in ((small, 1000), (folder / "ids.csv", count)):
            options = ["--rate", "1000000", "--concurrency", "32", "--base-url", server.base_url]
            options += ["-o", str(folder / "out.csv"), "--overwrite"]
            (folder / "out.csv").unlink(missing_ok=True)
            process = subprocess.Popen(
                pinned([*RUN, str(path), *options]),
                cwd=folder,
                env={**os.environ, **ENV},
                stderr=subprocess.DEVNULL,
            )
            samples = _sample(process, folder / "out.csv")
            rows.append((f"{ids:,}", *(f"{mb:.1f}" for mb in samples)))
    header = ("IDs", "MB at the first row", "MB at a third", "MB at two thirds", "MB at the peak")
    return table(header, rows)


def _sample(process: subprocess.Popen[bytes], out: Path) -> tuple[float, float, float, float]:
    seen: list[float] = []
    highest, began = 0.0, time.monotonic()
    while process.poll() is None:
        highest = max(highest, resident_mb(process.pid, "VmHWM"))
        now = resident_mb(process.pid, "VmRSS")
        if now and out.exists() and out.stat().st_size > 1000:
            seen.append(now)
        time.sleep(0.02 if time.monotonic() - began < 3 else 0.5)
    return seen[0], seen[len(seen) // 3], seen[2 * len(seen) // 3], highest


def startup(folder: Path) -> str:
    """Seconds to `--help`, and from the start to the first request of a 1,000-line file."""
    write_csv(folder / "ids.csv", make_ids(1000))
    help_s = [
        measure([sys.executable, "-m", "bulkcancel", "--help"], cwd=ROOT).wall_s for _ in range(9)
    ]
    run_help_s = [measure([*RUN, "--help"], cwd=ROOT).wall_s for _ in range(9)]
    tls_s = [_first_request(folder, tls=True) for _ in range(7)]
    plain_s = [_first_request(folder, tls=False) for _ in range(7)]
    rows = [
        ("bulkcancel --help", f"{median(help_s):.2f}"),
        ("bulkcancel run --help", f"{median(run_help_s):.2f}"),
        ("first request of a 1,000-line file, TLS 1.3", f"{median(tls_s):.2f}"),
        ("first request of a 1,000-line file, plain http", f"{median(plain_s):.2f}"),
    ]
    return table(("what", "seconds"), rows)


def _first_request(folder: Path, *, tls: bool) -> float:
    """Return the seconds from a run's start until nginx has answered its first request."""
    with nginx_server(server_options(access_log=True, tls=tls)) as server:
        options = ["--rate", "1000", "--base-url", server.base_url]
        options += ["-o", str(folder / "out.csv"), "--overwrite"]
        env = {**ENV, **trust(server, folder)}
        began = time.time()
        measure([*RUN, str(folder / "ids.csv"), *options], cwd=folder, env=env)
        return server.logged()[0].at - began
