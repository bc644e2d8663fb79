"""How fast a large CSV file is read and checked, and in how much memory."""

from __future__ import annotations

import random
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

from tests.bench.measure import table
from tests.bench.peers import HERE

if TYPE_CHECKING:
    from pathlib import Path

_ROWS = 1_000_000
_HEADER = "instanceId,modelName,status,modelVersion,createdBy,createdOn"
# In a process of its own: what it needs is not mixed up with what writes the file.
_CHECK = """
import resource, sys, time
from bulkcancel.inputs import InputOptions, check_files
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
checked = check_files(sys.argv[1:], InputOptions())
took_s = time.perf_counter() - began
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(checked), took_s, (after - before) * 1024)
"""


def _row(rng: random.Random, number: int, quotes: str) -> str:
    name = f"Invoice approval EMEA and APAC second reminder to account owner {number:06}"
    if quotes == "some" and number % 10 == 0:
        name = f'"Invoice approval, EMEA ""north"", reminder to account owner {number:06}"'
    cells = [
        str(uuid.UUID(int=rng.getrandbits(128))),
        name,
        "IN_PROGRESS",
        f"1.0.{number % 9}",
        f"user.{number % 500:03}@example.com",
        "2025-03-04T05:06:07.890Z and a note of some length",
    ]
    if quotes == "all":
        cells = [f'"{cell}"' for cell in cells]
    return ",".join(cells) + "\r\n"


def reading(folder: Path) -> str:
    """Check a million rows of 200 bytes, with quotes around no, some and all cells."""
    rows = []
    for quotes in ("no", "some", "all"):
        rng = random.Random(1)
        path = folder / "runs.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(_HEADER + "\r\n")
            file.writelines(_row(rng, n, quotes) for n in range(_ROWS))
        done = subprocess.run(
            [sys.executable, "-c", _CHECK, str(path)],
            cwd=HERE.parents[1], capture_output=True, text=True, check=True,
        )  # fmt: skip
        count, took_s, grown = map(float, done.stdout.split())
        rows.append((quotes, f"{count:,.0f}", f"{_ROWS / took_s:,.0f}", f"{grown / count:.0f}"))
    return table(("cells in quotes", "IDs", "rows/s", "bytes an ID at the peak"), rows)
