"""One run of the tool as a process that can be ended from outside."""

from __future__ import annotations

import random
import traceback
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast
from unittest import mock

import anyio

from bulkcancel.cli.wiring import bring_up_to_date
from bulkcancel.engine import Engine, Limits, Policy, Stop, Verification, pipeline
from bulkcancel.errors import BulkcancelError, InterruptedRunError, ResultsError, unwrapped
from bulkcancel.results import ResultsFile, ResultsWriter
from tests.simulation.disk import SimulatedDisk
from tests.simulation.domo import SimulatedClient, SimulatedDomo
from tests.simulation.world import Ending, How
from tests.support import virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from bulkcancel.cli.sources import Inputs
    from bulkcancel.engine import Findings, Items
    from bulkcancel.models import Target
    from tests.simulation.story import Run, Story

HOST = "127.0.0.1:1"
LONGEST_RUN_S = 20_000.0
"""Virtual seconds after which a run counts as hung, whatever its world."""
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""When worlds begin."""


class Process:
    """Does what the command does, from the results file to its end."""

    def __init__(self, run: Run, story: Story, domo: SimulatedDomo, ending: Ending) -> None:
        self.disk = SimulatedDisk(
            write_s=story.world.write_s,
            sync_s=story.world.sync_s,
            room=ending.room if ending.how is How.FULL else None,
            on_full=self._on_full,
            on_rewrite=self._on_rewrite,
        )
        self._run = run
        self._story = story
        self._world = story.world
        self._ending = ending
        self._clock = domo.clock
        self._client = SimulatedClient(domo, story, run.number)
        self._stop = _TimedStop(run, domo.clock)
        self._life = anyio.CancelScope()

    async def live(self, path: Path, inputs: Inputs) -> None:
        """Work until it is through or ended; the run says how."""
        run = self._run
        buffer = mock.patch.object(pipeline, "_RESULTS_BUFFER", self._world.results_buffer)
        with self.disk.installed(), buffer:
            try:
                await self._work(path, inputs)
            except BulkcancelError as error:
                run.reason = error
            except Exception:  # noqa: BLE001 - an invariant tells of it
                if run.killed_at is None:  # else nobody is there to see it
                    run.crash = traceback.format_exc()
        run.ended_at = self._clock()

    async def _work(self, path: Path, inputs: Inputs) -> None:
        run, story = self._run, self._story
        results = ResultsFile.reserve(
            str(path),
            host=HOST,
            mode="resume",
            form="auto",
            again=self._world.again,
            dry_run=False,
            asks=True,
        )
        if results.resumed is not None:
            inputs.skip(results.resumed)
        try:
            results.begin()
            items = list(cast("Iterable[Target]", inputs.items()))
            run.targets = [each.instance_id for each in items]
            engine = Engine(
                self._client,
                self._policy(),
                stats=run.stats,
                stop=self._stop,
                observer=_Watcher(story, run, self._clock),
                host=HOST,
                clock=virtual_time.now,
                wall_clock=lambda: EPOCH + timedelta(seconds=self._clock()),
                rng=random.Random(f"{self._world.seed}: run {run.number}"),
            )
            writer = ResultsWriter(
                results, run.stats.count, clock=virtual_time.now, in_thread=self.disk.in_thread
            )
            unseen = results.resumed.ids_unseen() if results.resumed else ()
            with self._life:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._end)
                    with anyio.move_on_after(LONGEST_RUN_S) as patience:
                        await engine.run(self._input(items), writer.collect, unseen)
                    run.hung = patience.cancelled_caught
                    tasks.cancel_scope.cancel()
            if engine.confirmer is not None and run.killed_at is None:
                self._bring_up_to_date(path, results, engine.confirmer.findings)
        except ExceptionGroup as group:
            raise unwrapped(group) from None
        finally:
            run.reason = self._stop.reason
            self._close(results)
        run.reason = results.failure or run.reason

    def _close(self, results: ResultsFile) -> None:
        run = self._run
        if run.killed_at is not None:
            results.failure = ResultsError("nobody is there to see this")
        try:
            results.close()
        except ResultsError as error:
            run.reason = error
        if results.resumed is not None:
            run.kept = +results.resumed.outcomes

    def _bring_up_to_date(self, path: Path, results: ResultsFile, findings: Findings) -> None:
        self._run.before_update = path.read_bytes()
        bring_up_to_date(results, findings, self._run.stats)

    def _input(self, items: list[Target]) -> Items:
        pause = self._world.pause
        return items if pause is None else _Pipe(items, pause, self._run, self._clock)

    def _policy(self) -> Policy:
        world = self._world
        well = self._story.healed_at is not None
        return Policy(
            rate_per_s=world.rate_per_s,
            burst=world.burst,
            concurrency=world.concurrency,
            attempts=world.attempts,
            grace_s=world.grace_s,
            limits=Limits(
                max_outage_s=world.max_outage_s,
                deadline_s=None if well else world.deadline_s,
                max_failures=None if well else world.max_failures,
                max_failure_share=None if well else world.max_failure_share,
            ),
            succeeded_before=len(self._run.done_before),
            verification=None if world.looks is None else Verification(world.looks.timeout_s),
        )

    async def _end(self) -> None:
        """End it from outside, where the world says so."""
        ending, run = self._ending, self._run
        if ending.how not in {How.TERM, How.KILL}:
            return
        await anyio.sleep(ending.at_s)
        self._story.tell(self._clock(), ending.how)
        if ending.how is How.KILL:
            run.killed_at = self._clock()
            self._client.dead = self.disk.dead = True
            self._life.cancel()
            return
        run.signalled_at = self._clock()
        self._stop.request(InterruptedRunError("SIGTERM", 15))
        if ending.second_after_s is not None:
            await anyio.sleep(ending.second_after_s)
            self._stop.request(InterruptedRunError("SIGTERM", 15), cut=True)

    def _on_rewrite(self) -> None:
        if self._ending.how is How.REWRITE:
            self._story.tell(self._clock(), self._ending.how)
            self._run.killed_at = self._clock()
            self.disk.dead = True

    def _on_full(self) -> None:
        self._run.full_at = self._clock()


class _Pipe:
    """An input that is silent for a while."""

    def __init__(
        self, items: list[Target], pause: tuple[int, float], run: Run, clock: Callable[[], float]
    ) -> None:
        self._items = iter(items)
        self._pause_after, self._pause_s = pause
        self._run, self._clock = run, clock

    def __aiter__(self) -> _Pipe:
        return self

    async def __anext__(self) -> Target:
        if len(self._run.read_at) == self._pause_after:
            await anyio.sleep(self._pause_s)
        for item in self._items:
            self._run.read_at[item.instance_id] = self._clock()
            return item
        raise StopAsyncIteration


class _TimedStop(Stop):
    """A stop that keeps the times when it was first asked for, and when at once."""

    def __init__(self, run: Run, clock: Callable[[], float]) -> None:
        super().__init__()
        self._run, self._clock = run, clock

    def request(self, reason: Exception, *, cut: bool = False) -> None:
        run, now = self._run, self._clock()
        run.stopped_at = now if run.stopped_at is None else run.stopped_at
        if cut and run.cut_at is None:
            run.cut_at = now
        super().request(reason, cut=cut)


class _Watcher:
    """The observer of one run."""

    def __init__(self, story: Story, run: Run, clock: Callable[[], float]) -> None:
        self._story, self._run, self._clock = story, run, clock

    def retry_scheduled(self, target: Target, error: str, attempt: int, wait_s: float) -> None:
        self._run.due[target.instance_id, self._clock()] = self._clock() + wait_s
        self._tell(f"{target.instance_id[:8]} again in {wait_s:.3f} s, attempt {attempt}: {error}")

    def out_of_descriptors(self) -> None:
        self._tell("out of descriptors")

    def pace_changed(self, rate_per_s: float, reason: str) -> None:
        self._tell(f"pace {rate_per_s:.2f}/s: {reason}")

    def breaker_changed(self, *, opened: bool) -> None:
        self._run.breaker.append((self._clock(), opened))
        self._tell(f"breaker {'opened' if opened else 'closed'}")

    def verification_ended(self, reason: str) -> None:
        self._run.looks_ended.append((self._clock(), reason))
        self._tell(f"no more looks: {reason}")

    def bug(self, target: Target, error: Exception) -> None:
        self._run.bugs.append("".join(traceback.format_exception(error)))

    def _tell(self, text: str) -> None:
        self._story.tell(self._clock(), text)
