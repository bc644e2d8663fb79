"""Plays a world: its runs, whatever ends them, and resumes until all is done."""

from __future__ import annotations

import random
import tempfile
import uuid
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import anyio

from bulkcancel.cli.sources import Inputs
from bulkcancel.ids import pack
from bulkcancel.inputs import CheckedInput
from bulkcancel.models import CancelResult, Outcome
from bulkcancel.results.codec import Format, decode, encode
from tests.simulation.domo import SimulatedDomo
from tests.simulation.process import EPOCH, HOST, Process
from tests.simulation.story import Run, Story
from tests.simulation.world import Ending, World
from tests.support import virtual_time

_HEAL_AFTER_RUNS = 4
"""So many runs are left alone before all becomes well, so that every world ends."""
_MOST_RUNS_MORE = 4
_MEMORY = Path("/dev/shm")
_Old: TypeAlias = list[tuple[CancelResult, bytes]]
_Content: TypeAlias = tuple[list[bytes], list[CancelResult], _Old, bytes]


def play(world: World) -> Story:
    """Return what happened in a world."""
    folder = str(_MEMORY) if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=folder) as place:
        player = _Player(world, Path(place, "results.csv" if world.csv else "results.jsonl"))
        virtual_time.run(player.play)
    return player.story


def make_ids(world: World) -> list[str]:
    """Return the world's IDs in the order of the input."""
    rng = random.Random(f"{world.seed}: IDs")
    return [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in world.fates]


@lru_cache(maxsize=2000)  # a file is read before and after each run
def _decode(line: bytes, form: Format) -> CancelResult:
    return decode(line[:-1], form)


class _Player:
    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        self.story = Story(world, make_ids(world))
        self._path = path
        self._form = Format.CSV if world.csv else Format.JSONL
        self._began = 0.0

    async def play(self) -> None:
        """Run until nothing is left to send."""
        self._began = virtual_time.now()
        self._domo = SimulatedDomo(self.story, self._clock)
        self._write_earlier_failures()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._stall)
            await self._run_until_done()
            tasks.cancel_scope.cancel()

    async def _run_until_done(self) -> None:
        story, world = self.story, self.world
        heal_at = len(world.endings) + _HEAL_AFTER_RUNS
        tomorrow = world.tomorrow
        while len(story.runs) < heal_at + _MOST_RUNS_MORE:
            number = len(story.runs)
            if number == heal_at:
                story.healed_at = self._clock()
                story.tell(story.healed_at, "from now on nothing goes wrong")
            ending = world.endings[number] if number < len(world.endings) else Ending()
            run = await self._run(number, ending)
            if run.hung or run.crash:
                return
            if run.through and not run.absent:
                if not tomorrow or all(row.outcome not in world.again for row in run.rows):
                    return
                tomorrow = False
            await anyio.sleep(world.gap_s)
        story.unfinished = True

    async def _run(self, number: int, ending: Ending) -> Run:
        story = self.story
        run = self._new_run(number)
        story.runs.append(run)
        story.tell(self._clock(), f"run {number} begins, {len(run.before)} rows are there")
        process = Process(run, story, self._domo, ending)
        await process.live(self._path, self._inputs(run.absent))
        if run.killed_at is not None:
            written = set(self._parse(self._path.read_bytes())[0])
            process.disk.tear(self._path, ending.torn)
            torn = written.difference(self._parse(self._path.read_bytes())[0])
            run.torn = frozenset(_decode(line, self._form).instance_id for line in torn)
        run.lines, run.rows, run.older, run.part_of_a_row = self._read()
        run.written_lines, run.written_rows = run.lines, run.rows
        if run.before_update is not None:
            run.written_lines, run.written_rows, _, _ = self._last_rows(run.before_update)
        told = run.crash or ("killed" if run.killed_at is not None else run.reason or "all through")
        said = str(told).replace(f"{self._path.parent}/", "")
        story.tell(self._clock(), f"run {number} ended: {said}")
        return run

    def _new_run(self, number: int) -> Run:
        """Return a run that is about to begin, with what is in the results file."""
        lines, rows, _, _ = self._read()
        again = {row.instance_id for row in rows if row.outcome in self.world.again}
        failed = {row.instance_id for row in rows if row.outcome is Outcome.FAILED}
        return Run(
            number,
            self._clock(),
            before={row.instance_id: line for row, line in zip(rows, lines, strict=True)},
            failed_before=frozenset(failed),
            done_before=frozenset(row.instance_id for row in rows) - again,
            absent=self._absent(number),
        )

    def _absent(self, number: int) -> frozenset[str]:
        """Return the IDs that a resumed run is not given; the first and every third has all."""
        if not self.world.absent_share or number % 3 == 0 or self.story.healed_at is not None:
            return frozenset()
        rng = random.Random(f"{self.world.seed}: absent {number}")
        share = self.world.absent_share
        return frozenset(each for each in self.story.ids if rng.random() < share)

    async def _stall(self) -> None:
        for from_s, for_s in self.world.stalls:
            await anyio.sleep(max(0.0, from_s - self._clock()))
            self.story.tell(self._clock(), f"stopped for {for_s:.0f} s")
            virtual_time.stall(for_s)

    def _inputs(self, absent: frozenset[str]) -> Inputs:
        checked = CheckedInput()
        checked.begin("ids.csv")
        for line, each in enumerate(self.story.ids, 2):
            if each not in absent:
                checked.add(pack(each), line)
        checked.counts.targets = len(checked)
        return Inputs(["ids.csv"], checked, None, limit=None, where=())

    def _write_earlier_failures(self) -> None:
        rows = [
            CancelResult(
                each, Outcome.FAILED, None, None, None, None, 500, 5, "server_error: HTTP 500", 1.0,
                EPOCH, HOST, "ids.csv:2",
            )
            for each in self.story.ids[len(self.story.ids) - self.world.failed_before :]
        ]  # fmt: skip
        if rows:
            self._path.write_bytes(self._form.header + encode(rows, self._form))

    def _read(self) -> _Content:
        return self._last_rows(self._path.read_bytes() if self._path.exists() else b"")

    def _last_rows(self, data: bytes) -> _Content:
        """Return the last whole row of each ID, as lines and results, the others, and the rest."""
        whole, part = self._parse(data)
        lines: list[bytes] = []
        older: _Old = []
        later: set[str] = set()
        for line in reversed(whole):
            row = _decode(line, self._form)
            if row.instance_id in later:
                older.append((row, line))
            else:
                lines.append(line)
            later.add(row.instance_id)
        lines.reverse()
        return lines, [_decode(line, self._form) for line in lines], older, part

    def _parse(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Return the whole lines after the header, and what is left."""
        header = self._form.header
        if not data.startswith(header):
            return [], data
        lines = data.removeprefix(header).splitlines(keepends=True)
        part = b"" if not lines or lines[-1].endswith(b"\n") else lines.pop()
        return lines, part

    def _clock(self) -> float:
        return virtual_time.now() - self._began
