"""What the page for Python callers shows runs as it stands: script, notebook, scheduler's task."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import multiprocessing
import re
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import bulkcancel
from bulkcancel import Sandbox, SandboxOptions, cancel_many
from tests.support.processes import environment
from tests.support.runs import make_ids
from tests.support.waiting import until

PAGE = (Path(__file__).parent.parent / "bulkcancel" / "docs" / "python.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
IDS = make_ids(6)


@contextmanager
def sandbox_in_thread(options: SandboxOptions | None = None) -> Iterator[str]:
    """Yield the address of a sandbox that lives in a thread of its own."""
    loop, ready, address = asyncio.new_event_loop(), threading.Event(), [""]
    done = asyncio.Event()

    async def serve() -> None:
        async with Sandbox(options) as box:
            address[0] = box.base_url
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    try:
        assert ready.wait(10)
        yield address[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


def _block(part: str) -> str:
    block: str
    (block,) = [each for each in BLOCKS if part in each]
    return block


def _run(block: str, base_url: str, **names: Any) -> dict[str, Any]:
    """Run an example with a sandbox in place of the instance; return its names."""
    block = block.replace('instance="acme"', "base_url=base_url")
    code = compile(block, "python.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names |= {"ids": IDS, "token": "any", "base_url": base_url, "__name__": "__main__"}
    if code.co_flags & inspect.CO_COROUTINE:

        async def main() -> None:
            await eval(code, names)

        asyncio.run(main())
    else:
        exec(code, names)
    return names


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_each_example_runs_as_it_stands(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every one of them ends by itself and leaves what it says."""
    monkeypatch.chdir(tmp_path)
    with sandbox_in_thread() as base_url:
        names = _run(BLOCKS[number], base_url)
    results = names.get("results", [])
    if isinstance(results, list) and results:
        assert sorted(each.instance_id for each in results) == sorted(IDS)
    assert capsys.readouterr().err == ""


def test_the_script_and_the_notebook_print_a_line_for_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What they are for."""
    with sandbox_in_thread() as base_url:
        for part in ("for result in results:\n    print(", "print(result.as_dict())"):
            _run(_block(part), base_url)
            out = capsys.readouterr().out
            assert [out.count(each) for each in IDS] == [1] * len(IDS)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_the_task_goes_on_where_it_was_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forked for each try, as schedulers do; the second one finds nothing left to send."""
    monkeypatch.chdir(tmp_path)
    with sandbox_in_thread() as base_url:
        block = _block("def cancel_stuck_runs")
        task = _run(block, base_url)["cancel_stuck_runs"]
        sizes = []
        for _ in range(2):
            process = multiprocessing.get_context("fork").Process(
                target=task, args=(IDS, "any", "monday")
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # fork beside a thread
                process.start()
            process.join(30)
            assert process.exitcode == 0
            sizes.append((tmp_path / "results-monday.csv").stat().st_size)
    assert sizes[0] == sizes[1] > 6 * 100


_INTERRUPTED = """
import sys
from bulkcancel import CancelInterrupted, ResultsPath, cancel_all
try:
    cancel_all(sys.argv[2:], base_url=sys.argv[1], token="any", rate_per_s=100,
               into=ResultsPath("results.jsonl"))
except CancelInterrupted as stopped:
    print(*[each.instance_id for each in stopped.results])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one process")
def test_ctrl_c_lets_requests_in_flight_end(tmp_path: Path) -> None:
    """Every answer has its row and is among the results of the exception; nothing is printed."""
    path = tmp_path / "results.jsonl"
    with sandbox_in_thread(SandboxOptions(port=0, latency_s=0.2, jitter_s=0)) as base_url:
        process = subprocess.Popen(
            [sys.executable, "-c", _INTERRUPTED, base_url, *make_ids(500)], cwd=tmp_path,
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        )  # fmt: skip
        until(lambda: path.exists() and path.read_bytes().count(b"\n") > 5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    rows = [json.loads(line)["instanceId"] for line in path.read_text().splitlines()]
    assert 5 < len(rows) < 400
    assert sorted(out.split()) == sorted(rows)


def test_every_argument_and_exception_is_in_a_table() -> None:
    """And the defaults that are told are those of the calls."""
    for name, argument in inspect.signature(cancel_many).parameters.items():
        if name in {"ids", "client"}:
            continue
        (line,) = [x for x in PAGE.splitlines() if x.startswith("|") and f"`{name}`" in x[:50]]
        if isinstance(argument.default, int | float) and not isinstance(argument.default, bool):
            assert f"{argument.default:g}" in line.split("|")[2]
    for name in bulkcancel.__all__:
        assert f"`{name}" in PAGE or f" {name}" in PAGE


@pytest.mark.slow
def test_the_notebook_example_runs_in_a_notebook() -> None:
    """In a real kernel, whose loop runs already."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    with sandbox_in_thread() as base_url:
        given = f"ids, token, base_url = {IDS!r}, 'any', {base_url!r}"
        block = _block("print(result.as_dict())").replace('instance="acme"', "base_url=base_url")
        cells = [nbformat.v4.new_code_cell(each) for each in (given, block)]
        book = nbformat.v4.new_notebook(cells=cells)
        nbclient.NotebookClient(book, timeout=30).execute()
    out = "".join(each.text for each in book.cells[1].outputs)
    assert [out.count(each) for each in IDS] == [1] * len(IDS)


@pytest.mark.slow
def test_the_examples_are_typed(tmp_path: Path) -> None:
    """`mypy --strict`, without a plugin, as other programs' checks see this package."""
    for number, block in enumerate(BLOCKS):
        imports = re.findall(r"^(?:from|import) .*\n", block, re.MULTILINE)
        rest = textwrap.indent(
            re.sub(r"^(?:from|import) .*\n", "", block, flags=re.MULTILINE), "    "
        )
        given = "ids: list[str] = []\ntoken = ''\n"
        text = f"{''.join(imports)}{given}async def main() -> None:\n{rest}"
        (tmp_path / f"example_{number}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "."],
        cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
