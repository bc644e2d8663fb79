"""Which targets a run is given, and what is known of them."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterable

import anyio
import pytest

from bulkcancel.cli.sources import Inputs
from bulkcancel.ids import pack
from bulkcancel.inputs import InputOptions, check_files
from bulkcancel.models import InvalidRow, Target
from bulkcancel.results.codec import Format
from bulkcancel.results.resume import Resumed
from tests.support.runs import make_ids

IDS = make_ids(6)


def _resumed() -> Resumed:
    """A results file that has 0 as done, 1 as forbidden and 2 as failed."""
    resumed = Resumed(Format.CSV, "results.csv")
    resumed.done.add(pack(IDS[0]))
    for each in IDS[1:3]:
        resumed.again_ids.add(pack(each))
    resumed.again_for_others.add(pack(IDS[1]))
    return resumed


def _listed(items: Iterable[Target | InvalidRow]) -> list[tuple[int, bool]]:
    targets = [item for item in items if isinstance(item, Target)]
    return [(IDS.index(target.instance_id), target.failed_before) for target in targets]


def _inputs(ids: list[str], pipe: list[Target] | None = None, limit: int | None = None) -> Inputs:
    checked = check_files([io.BytesIO("\n".join(ids).encode())], InputOptions(), on_progress=None)
    return Inputs(["ids"], checked, iter(pipe) if pipe else None, limit=limit, where=())


def test_what_has_failed_before_comes_last_and_is_known() -> None:
    """New ones first; only a failure, not a 403, says that the ID itself may be to blame."""
    inputs = _inputs(IDS[:5])
    inputs.skip(_resumed())
    items = inputs.items()
    assert not isinstance(items, AsyncIterator)
    assert _listed(items) == [(3, False), (4, False), (1, False), (2, True)]  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [None, 5])
def test_what_has_failed_before_is_known_in_a_pipe_too(limit: int | None) -> None:
    """A pipe's IDs come as they are read, under a limit those that failed before come last."""

    piped = [Target(each, f"-:{n}") for n, each in enumerate((*IDS[:3], IDS[5]), 1)]

    async def collect() -> list[Target | InvalidRow]:
        inputs = _inputs(IDS[3:5], piped, limit)
        inputs.skip(_resumed())
        items = inputs.items()
        assert isinstance(items, AsyncIterator)
        return [item async for item in items]

    listed = _listed(anyio.run(collect))
    assert dict(listed)[2] is True
    assert dict(listed)[1] is False
