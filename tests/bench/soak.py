"""Both event loops over TLS with connection churn: does memory or a descriptor leak?"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tests.bench.endurance import ENV, RUN
from tests.bench.measure import make_ids, pinned, resident_mb, server_options, table, write_csv
from tests.support.nginx_server import nginx_server

_COUNT = 40_000
_REQUESTS_EACH = 20


def soak(folder: Path) -> str:
    """Send 40,000 requests, 20 to a connection; memory and descriptors at a third and the end."""
    write_csv(folder / "ids.csv", make_ids(_COUNT))
    rows = []
    options = server_options(tls=True, keepalive_requests=_REQUESTS_EACH)
    for loop in ("asyncio", "uvloop"):
        with nginx_server(options) as server:
            process = subprocess.Popen(
                pinned(
                    [
                        *(*RUN, str(folder / "ids.csv"), "--base-url", server.base_url),
                        *("-o", str(folder / "out.csv"), "--overwrite", "--loop", loop),
                        *("--rate", "1000000", "--concurrency", "32"),
                    ]
                ),
                cwd=folder,
                env={**os.environ, **ENV, "SSL_CERT_FILE": str(server.ca_file)},
                stderr=subprocess.DEVNULL,
            )
            began = time.monotonic()
            samples = _watch(process, folder / "out.csv")
            per_s = _COUNT / (time.monotonic() - began)
        third, last = samples[len(samples) // 3], samples[-1]
        code = process.returncode
        rows.append((
            loop, f"{per_s:,.0f}", f"{third[0]:.1f}", f"{last[0]:.1f}", f"{third[1]}", f"{last[1]}",
            str(code),
        ))  # fmt: skip
    header = (
        "event loop", "IDs/s", "MB at a third", "MB at the end", "descriptors at a third",
        "at the end", "exit code",
    )  # fmt: skip
    return table(header, rows)


def _watch(process: subprocess.Popen[bytes], out: Path) -> list[tuple[float, int]]:
    """Return resident memory and open descriptors, five times a second while rows are written."""
    samples = []
    while process.poll() is None:
        if out.exists() and out.stat().st_size > 1000:
            memory = resident_mb(process.pid, "VmRSS")
            try:
                descriptors = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
            except FileNotFoundError:
                break
            if memory:
                samples.append((memory, descriptors))
        time.sleep(0.2)
    return samples
