"""How fast a large CSV file is read and checked, and in how much memory.

    python tests/bench/reading.py --rows 1000000 --quotes some

Prints rows a second and bytes an ID.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
import time
import tracemalloc
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bulkcancel.source import InputOptions, check_files

_HEADER = "instanceId,modelName,status,modelVersion,createdBy,createdOn"


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


def main() -> None:
    """Write a file, read it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--quotes", choices=("none", "some", "all"), default="some")
    parser.add_argument("--memory", action="store_true", help="trace memory (slows the reading)")
    options = parser.parse_args()
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "runs.csv")
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(_HEADER + "\r\n")
            file.writelines(_row(rng, n, options.quotes) for n in range(options.rows))
        row_bytes = path.stat().st_size / options.rows
        if options.memory:
            tracemalloc.start()
        began_s = time.perf_counter()
        checked = check_files([str(path)], InputOptions())
        took_s = time.perf_counter() - began_s
    print(f"{len(checked):,} IDs, {row_bytes:.0f} bytes a row, quotes: {options.quotes}")
    print(f"{options.rows / took_s:,.0f} rows/s ({took_s:.2f} s)")
    if options.memory:
        gc.collect()
        kept, peak = tracemalloc.get_traced_memory()
        print(f"{kept / len(checked):.1f} bytes an ID kept, {peak / len(checked):.1f} at the peak")


if __name__ == "__main__":
    main()
