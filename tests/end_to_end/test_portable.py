"""A system without POSIX's own modules runs the main job all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.processes import Finished, environment, write_ids
from tests.support.runs import make_ids

# What others load is loaded first: only bulkcancel's own modules are to meet the other system.
ELSEWHERE = """
import asyncio, getpass, sys, sysconfig, types, zoneinfo
import aiohttp.web, anyio._backends._asyncio, cyclopts, pydantic, rich.live, rich.progress
import structlog
sysconfig.get_config_vars()
for name in ("fcntl", "resource", "uvloop"):
    sys.modules[name] = None
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=lambda *_: None)
sys.platform = "win32"
import bulkcancel.cli.commands.run
from bulkcancel.__main__ import main
main()
"""


def test_no_module_of_posix_alone_is_needed(tmp_path: Path) -> None:
    """Without fcntl, resource and uvloop, as on Windows, a run comes to its end."""
    write_ids(tmp_path / "ids.txt", make_ids(50))
    options = ("run", "ids.txt", "--sandbox", "--rate", "1000", "--concurrency", "64")
    for again in ((), ("--resume",)):
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, *options, *again],
            cwd=tmp_path, env=environment(PYTHONPATH=str(Path(__file__).parents[2])),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    finished = Finished(done.returncode, done.stdout, done.stderr, tmp_path)
    assert len(finished.rows()) == 50
    assert "Traceback" not in done.stderr
