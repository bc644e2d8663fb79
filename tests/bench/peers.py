"""bulkcancel and what one would use instead, each as a command over the same IDs."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.measure import Usage, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

HERE = Path(__file__).parent
PATH = "/api/workflow/v1/instances"
REFERENCE = "plain aiohttp, uvloop"


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a peer: its IDs, as CSV with a header, and where to work."""

    ids: Sequence[str]
    csv: Path
    base_url: str
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    """What makes the peer trust the server's certificate."""

    @property
    def out(self) -> Path:
        """Where the peer leaves its rows."""
        return self.folder / "out.csv"

    def answer(self, instance_id: str) -> Path:
        """Return where a peer leaves the answer to one ID, if it keeps them apart."""
        return self.folder / "answers" / f"{instance_id}.json"


def _rows(job: Job) -> int:
    """Return for how many of the IDs the peer has left a row."""
    if not job.out.exists():
        return 0
    # A row begins with the ID; where all that is kept is the server's answers, they name it.
    text = job.out.read_text("utf-8", "replace")
    found = set(re.findall(r'(?:^|"id":")([0-9a-f-]{36})', text, re.MULTILINE))
    return len(found.intersection(job.ids))


def _files_and_codes(job: Job) -> int:
    """Return for how many of the IDs the peer has left both the code 200 and their own answer."""
    text = job.out.read_text("utf-8", "replace")
    accepted = set(re.findall(r"^200 \S+/([0-9a-f-]{36})/cancel$", text, re.MULTILINE))
    return sum(
        f'"id":"{each}"' in job.answer(each).read_text("utf-8", "replace")
        for each in accepted.intersection(job.ids)
        if job.answer(each).exists()
    )


@dataclass(frozen=True, slots=True)
class Peer:
    """A client to measure; `share` of the IDs is enough for the slow ones."""

    name: str
    run: Callable[[Job], Usage]
    missing: Callable[[], str]
    """What is not installed, if anything."""
    share: float = 1.0
    kept: Callable[[Job], int] = _rows
    """For how many of its IDs the peer has kept what came of them."""


def _python(script: str, *before: str) -> Callable[[Job], Usage]:
    def run(job: Job) -> Usage:
        return measure(
            [
                sys.executable,
                str(HERE / script),
                *before,
                str(job.csv),
                job.base_url,
                str(job.out),
            ],
            cwd=job.folder,
            env=job.env,
        )

    return run


def bulkcancel(*options: str, concurrency: int = 32) -> Callable[[Job], Usage]:
    """Return bulkcancel with everything on, as a scheduled job would run it."""

    def run(job: Job) -> Usage:
        return measure(
            [
                *(sys.executable, "-m", "bulkcancel", "run", str(job.csv)),
                *("--base-url", job.base_url, "-o", str(job.out), "--overwrite"),
                *("--rate", "1000000", "--concurrency", str(concurrency), *options),
            ],
            cwd=job.folder,
            env={
                **job.env,
                "DOMO_DEVELOPER_TOKEN": "token",
                "PYTHONPATH": str(HERE.parents[1]),
            },
        )

    return run


def _curl_parallel(job: Job, written: str, lines: Iterable[str]) -> Usage:
    config = job.folder / "curl.txt"
    config.write_text("".join(lines))
    return measure(
        [
            *("curl", "-s", "-X", "POST", "-H", "X-DOMO-Developer-Token: token"),
            *("--parallel", "--parallel-max", "64", "-w", written, "-K", str(config)),
        ],
        cwd=job.folder,
        env=job.env,
        stdout=job.out,
    )


def _curl_one_stream(job: Job) -> Usage:
    lines = (f'url = "{job.base_url}{PATH}/{each}/cancel"\n' for each in job.ids)
    return _curl_parallel(job, "\\n", lines)


def _curl_files_and_codes(job: Job) -> Usage:
    (job.folder / "answers").mkdir()
    lines = (
        f'url = "{job.base_url}{PATH}/{each}/cancel"\noutput = "{job.answer(each)}"\n'
        for each in job.ids
    )
    return _curl_parallel(job, "%{http_code} %{url_effective}\\n", lines)


def _lines(job: Job) -> Path:
    path = job.folder / "ids.txt"
    path.write_text("".join(f"{each}\n" for each in job.ids))
    return path


def _curl(job: Job) -> list[str]:
    return [
        *("curl", "-s", "-X", "POST", "-H", "X-DOMO-Developer-Token: token", "-w", "\\n"),
        f"{job.base_url}{PATH}/{{}}/cancel",
    ]


def _xargs_curl(job: Job) -> Usage:
    return measure(
        ["xargs", "-P64", "-I{}", *_curl(job)],
        cwd=job.folder,
        env=job.env,
        stdin=_lines(job),
        stdout=job.out,
    )


def _gnu_parallel(job: Job) -> Usage:
    return measure(
        ["parallel", "--will-cite", "-q", "-j64", *_curl(job)],
        cwd=job.folder,
        env=job.env,
        stdin=_lines(job),
        stdout=job.out,
    )


def _undici(job: Job) -> Usage:
    command = ["node", str(HERE / "peer_undici.mjs"), str(job.csv), job.base_url, str(job.out)]
    return measure(command, cwd=job.folder, env=job.env)


def _program(name: str) -> Callable[[], str]:
    return lambda: "" if shutil.which(name) else name


def _module(name: str) -> Callable[[], str]:
    return lambda: "" if importlib.util.find_spec(name) else f"Python's {name}"


def _missing_undici() -> str:
    if not shutil.which("node"):
        return "node"
    found = subprocess.run(
        ["node", "-e", "require('undici')"], capture_output=True, check=False
    ).returncode
    return "" if found == 0 else "undici (npm install undici, NODE_PATH)"


PEERS = (
    Peer("bulkcancel", bulkcancel(), lambda: ""),
    Peer(REFERENCE, _python("peer_aiohttp.py", "uvloop"), _module("uvloop")),
    Peer("bulkcancel --loop asyncio", bulkcancel("--loop", "asyncio"), lambda: ""),
    Peer("plain aiohttp, asyncio", _python("peer_aiohttp.py", "asyncio"), lambda: ""),
    Peer("curl --parallel, one stream", _curl_one_stream, _program("curl")),
    Peer(
        "curl --parallel, a file and a code an ID",
        _curl_files_and_codes,
        _program("curl"),
        kept=_files_and_codes,
    ),
    Peer("Node undici", _undici, _missing_undici),
    Peer("httpx", _python("peer_httpx.py"), _module("httpx"), share=0.03),
    Peer("xargs -P64 curl", _xargs_curl, _program("xargs"), share=0.01),
    Peer("GNU parallel, curl", _gnu_parallel, _program("parallel"), share=0.005),
)
