"""How fast bulkcancel is, beside its peers, on the same IDs in the same run.

    python -m tests.bench            # whole processes: IDs a second, CPU, memory, rows kept;
                                     # over TLS, then over plain http (--over tls|http|both)
    python -m tests.bench latency    # a server that takes 100 ms, 64 requests in flight
    python -m tests.bench paced      # what the server sees at 10 … 5,000 a second
    python -m tests.bench limits     # an unknown limit: adaptive pace, botocore's, plain retries
    python -m tests.bench memory     # a million IDs
    python -m tests.bench soak       # both event loops over TLS, connections opened and closed
    python -m tests.bench reading    # how fast a million-row CSV is checked
    python -m tests.bench startup    # --help, and the first request of a small file, TLS and plain

nginx is the server, on a core of its own where the system can pin it. Prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import tempfile
from pathlib import Path

from tests.bench import endurance, limits, peers, reading, soak
from tests.bench.measure import make_ids, median, server_options, table, trust, write_csv
from tests.support.nginx_server import nginx_server


def speed(count: int, rounds: int, only: list[str], *, tls: bool) -> str:
    """Measure whole processes, in turn, so many rounds; return the table of medians."""
    ids = make_ids(count)
    wanted = [p for p in peers.PEERS if not only or p.name in {*only, peers.REFERENCE}]
    missing = [f"{peer.name}: {peer.missing()}" for peer in wanted if peer.missing()]
    present = [peer for peer in wanted if not peer.missing()]
    usages: dict[str, list[tuple[float, float, float]]] = {peer.name: [] for peer in present}
    kept = {}
    with nginx_server(server_options(tls=tls)) as server:
        for _, peer in itertools.product(range(rounds), present):
            some = ids[: max(100, int(count * peer.share))]
            with tempfile.TemporaryDirectory() as directory:
                folder = Path(directory)
                write_csv(folder / "ids.csv", some)
                trusted = trust(server, folder)
                job = peers.Job(some, folder / "ids.csv", server.base_url, folder, trusted)
                usage = peer.run(job)
                kept[peer.name] = f"{peer.kept(job):,} of {len(some):,}"
            per_s = len(some) / usage.wall_s
            usages[peer.name].append((per_s, usage.cpu_s / len(some) * 1000, usage.peak_mb))
    reference = usages.get(peers.REFERENCE)
    rows = []
    for name, runs in usages.items():
        ratios = [a[0] / b[0] for a, b in zip(runs, reference, strict=True)] if reference else []
        rows.append(
            (
                name,
                f"{median([run[0] for run in runs]):,.0f}",
                f"{median(ratios):.3f}" if ratios else "",
                f"{median([run[1] for run in runs]):.3f}",
                f"{median([run[2] for run in runs]):.0f}",
                kept[name],
            )
        )
    header = ("client", "IDs/s", "ratio", "CPU s per 1,000", "peak MB", "rows kept")
    notes = [f"Missing here: {', '.join(missing)}."] if missing else []
    return "\n\n".join([table(header, rows), *notes])


def main() -> None:
    """Run what is asked for."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = ("speed", "latency", "paced", "limits", "memory", "soak", "reading", "startup")
    parser.add_argument("kind", nargs="?", choices=kinds, default="speed")
    parser.add_argument("--ids", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", default=[], help="a client's name")
    parser.add_argument(
        "--over",
        choices=("tls", "http", "both"),
        default="both",
        help="what speed is measured over",
    )
    given = parser.parse_args()
    print(f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    if given.kind == "speed":
        rounds = "1 round" if given.rounds == 1 else f"{given.rounds} rounds"
        print(f"Medians of {rounds}, the clients in turn.\n")
        for over, name in (("tls", "TLS 1.3"), ("http", "plain http")):
            if given.over in (over, "both"):
                figures = speed(given.ids, given.rounds, given.only, tls=over == "tls")
                print(f"Over {name}:\n\n{figures}\n", flush=True)
        return
    measures = {
        "latency": endurance.latency,
        "paced": endurance.paced,
        "limits": limits.limits,
        "memory": endurance.memory,
        "soak": soak.soak,
        "reading": reading.reading,
        "startup": endurance.startup,
    }
    with tempfile.TemporaryDirectory() as directory:
        print(measures[given.kind](Path(directory)))


if __name__ == "__main__":
    main()
