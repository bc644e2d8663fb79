"""One process run to its end, on the client's core: seconds, CPU seconds, peak memory."""

from __future__ import annotations

import os
import random
import shutil
import ssl
import statistics
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.nginx_server import NginxOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.nginx_server import NginxServer

CLIENT_CPU, SERVER_CPU = 0, 1
CAN_PIN = bool(shutil.which("taskset")) and (os.cpu_count() or 1) > 1


# A process begins its life with the peak memory of the one that made it: this one is small.
_LAUNCHER = """
import os, sys, time
out = int(sys.argv[1])
began = time.monotonic()
process = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(process, 0)
wall_s = time.monotonic() - began
os.write(out, f"{wall_s} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss} {status}".encode())
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its children took; `peak_mb` is of the largest of them."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    exit_code: int


def pinned(command: Sequence[str]) -> list[str]:
    """Return the command, on the client's core where the system can do that."""
    return ["taskset", "-c", str(CLIENT_CPU), *command] if CAN_PIN else list(command)


def measure(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: Path | None = None,
    stdout: Path | None = None,
) -> Usage:
    """Run a command to its end; its streams go to files or nowhere."""
    into, out_of = os.pipe()
    with (
        open(stdin or os.devnull, "rb") as input_,
        open(stdout or os.devnull, "wb") as output,
        os.fdopen(into) as report,
        subprocess.Popen(
            pinned([sys.executable, "-I", "-S", "-c", _LAUNCHER, str(out_of), *command]),
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=input_,
            stdout=output,
            stderr=subprocess.DEVNULL,
            pass_fds=[out_of],
        ),
    ):
        os.close(out_of)
        wall_s, cpu_s, peak, status = map(float, report.read().split())
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return Usage(wall_s, cpu_s, peak / unit, os.waitstatus_to_exitcode(int(status)))


def resident_mb(pid: int, key: str) -> float:
    """Return a figure of a process's memory, 0 when it has ended; Linux only."""
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith(key):
                    return int(line.split()[1]) * 1024 / 1e6
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0.0


def make_ids(count: int) -> list[str]:
    """Return distinct instance IDs."""
    rng = random.Random(1)
    return [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(count)]


def write_csv(path: Path, ids: list[str]) -> None:
    """Write them as an export would list them."""
    lines = (f"{each},Invoice approval EMEA,IN_PROGRESS,1.0.3\n" for each in ids)
    path.write_text("instanceId,modelName,status,modelVersion\n" + "".join(lines))


def server_options(**options: Any) -> NginxOptions:
    """Return an nginx on the server's core, where there is one."""
    return NginxOptions(cpu=SERVER_CPU if CAN_PIN else None, **options)


def trust(server: NginxServer, folder: Path) -> dict[str, str]:
    """Return the environment in which every client trusts the server; empty over plain http.

    The file that it names holds the system's authorities as well: reading those is a part of
    every real start.
    """
    if not server.base_url.startswith("https:"):
        return {}
    places = (ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt")
    system = next((Path(each) for each in places if each and Path(each).exists()), None)
    bundle = folder / "authorities.pem"
    bundle.write_bytes((system.read_bytes() if system else b"") + server.ca_file.read_bytes())
    return dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), str(bundle))


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are aligned right."""
    lines = [
        "| " + " | ".join(header) + " |",
        "|---|" + "---:|" * (len(header) - 1),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines)
