"""Which targets a run is given, and what is known of them."""

from __future__ import annotations

import io
from collections.abc import AsyncIterable, AsyncIterator, Iterable

import anyio
import pytest
from rich.console import Console

from bulkcancel.cli.settings import RunSettings
from bulkcancel.cli.sources import Inputs
from bulkcancel.cli.wiring import plan_of, policy_of
from bulkcancel.ids import IdSet, pack
from bulkcancel.inputs import CheckedInput, Condition, InputOptions, check_files, stream
from bulkcancel.models import Breakdown, InvalidRow, Outcome, Target
from bulkcancel.quantities import Shard
from bulkcancel.reporting.plan import Plan, print_plan
from bulkcancel.results.codec import Format
from bulkcancel.results.earlier.resume import Resumed
from tests.support.runs import make_ids

IDS = make_ids(6)


def _set(*ids: str) -> IdSet:
    made = IdSet()
    for each in ids:
        made.add(pack(each))
    return made


def _resumed() -> Resumed:
    """A results file that has 0 as done, 1 as forbidden and 2 as failed."""
    resumed = Resumed(Format.CSV, "results.csv")
    resumed.done.add(pack(IDS[0]))
    resumed.again = {Outcome.FORBIDDEN: _set(IDS[1]), Outcome.FAILED: _set(IDS[2])}
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


def test_what_has_failed_and_is_beyond_the_limit_of_a_pipe_counts_as_done() -> None:
    """As with a file: its row stays; one that never was tried is not reached."""

    async def left(listed: list[str], limit: int) -> tuple[list[str], int]:
        piped = [Target(each, f"-:{n}") for n, each in enumerate(listed, 1)]
        inputs = _inputs([], piped, limit)
        inputs.skip(_resumed())
        return await _read(inputs), inputs.already_done

    assert anyio.run(left, IDS[:4], 2) == ([IDS[3], IDS[1]], 2)  # 0 is done, 2 has failed
    assert anyio.run(left, IDS[:5], 1) == ([IDS[3]], 3)


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


def _shard(text: str, settings: RunSettings, *, piped: bool = False) -> Inputs:
    """The inputs of one shard of a file, or of the same piped in."""
    where = tuple(Condition.parse(each) for each in settings.where)
    options = InputOptions(where=where, shard=settings.shard)
    checked = CheckedInput() if piped else check_files([io.BytesIO(text.encode())], options)
    return Inputs(
        ["ids"],
        checked,
        stream([text.encode()], options, checked) if piped else None,
        limit=settings.limit,
        where=where,
    )


async def _read(inputs: Inputs) -> list[str]:
    """The IDs and the texts in the places of some that a run is given."""
    items = inputs.items()
    read: list[Target | InvalidRow] = []
    if isinstance(items, AsyncIterable):
        read.extend([item async for item in items])
    else:
        read.extend(items)
    return [item.text if isinstance(item, InvalidRow) else item.instance_id for item in read]


def _printed(plan: Plan) -> list[str]:
    text = io.StringIO()
    print_plan(Console(file=text, width=200), plan)
    return [" ".join(line.split()) for line in text.getvalue().splitlines()]


SHARED = make_ids(200)
SHARDED = RunSettings.model_validate({"shard": "3/8", "rate": "10", "max_failures": "10%"})
OURS = [each for each in SHARED if Shard(3, 8).holds(each)]
THEIRS = [each for each in SHARED if each not in OURS]


def test_the_plan_of_a_shard_tells_its_share() -> None:
    """Rate and share of failures are the shard's own; what is listed is the whole."""
    rows = [f"{each},a" for each in (*SHARED, SHARED[0], "bad-1", "bad-2")]
    text = "\n".join(["id,team", *rows, *(f"{each},b" for each in make_ids(5, seed=2))])
    settings = SHARDED.model_copy(update={"where": ["team=a"], "limit": 20})
    inputs = _shard(text, settings)
    assert inputs.listed == 200
    policy = policy_of(settings, inputs, None)
    assert policy.rate_per_s == 1.25
    assert policy.first_after_s == pytest.approx(0.3)  # after shards 0, 1 and 2
    assert policy.limits.max_failures == 2  # a tenth of the 20 that are sent
    plan = plan_of(settings, inputs, policy, "acme.domo.com", proxy="")
    assert plan.as_event()["shard"] == "3/8"
    assert plan.as_event()["to_cancel"] == 20
    shown = _printed(plan)
    assert f"shard 3/8 by hash: {len(OURS)} of 200 IDs" in shown
    assert "left out 5 by --where" in shown
    assert f"left out {len(OURS) - 20} beyond --limit" in shown
    assert "pace 1.25 a second at most (1/8 of 10), 16 at a time: about 16 s" in shown
    piped = _shard(text, settings, piped=True)
    shown = _printed(plan_of(settings, piped, policy, "acme.domo.com", proxy=""))
    assert "shard 3/8 by hash" in shown
    assert anyio.run(_read, piped)[-20:] == OURS[:20]
    assert piped.listed == 200


@pytest.mark.parametrize(
    ("rate", "rate_per_s", "pace"),
    [
        ("10", 0.01, "0.01 a second at most (1/1000 of 10), 16 at a time"),
        ("3600/h", 0.001, "0.001 a second at most (1/1000 of 1), 16 at a time"),
        ("auto", None, "auto for this shard alone, 16 at a time"),
    ],
)
def test_a_shard_has_its_share_of_any_rate(rate: str, rate_per_s: float | None, pace: str) -> None:
    """However low that is; a rate to be found is found by each for itself."""
    settings = RunSettings.model_validate({"shard": "0/1000", "rate": rate})
    inputs = _shard("", settings)
    policy = policy_of(settings, inputs, None)
    assert policy.rate_per_s == rate_per_s
    shown = _printed(plan_of(settings, inputs, policy, "acme.domo.com", proxy=""))
    assert f"pace {pace}" in shown


@pytest.mark.parametrize("piped", [False, True])
def test_a_results_file_of_another_shard_leaves_its_rows_alone(*, piped: bool) -> None:
    """What it has of this shard's IDs counts, what it has of the others' is no part of this run."""
    resumed = Resumed(Format.CSV, "results.csv")
    for each in (*OURS[:2], *THEIRS[:7]):
        resumed.done.add(pack(each))
    resumed.again[Outcome.FAILED] = _set(*OURS[2:5], *THEIRS[7:20])
    bad = [f"bad-{n}" for n in range(40)]
    resumed.invalid.update(bad)
    inputs = _shard("\n".join([*SHARED, *bad]), SHARDED, piped=piped)
    inputs.skip(resumed)
    assert sorted(anyio.run(_read, inputs)) == sorted(OURS[2:])
    counts = inputs.counts
    assert inputs.already_done == 2 + counts.invalid
    assert 0 < counts.invalid < 40
    assert counts.rows - counts.filtered - inputs.already_done == len(OURS) - 2


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize(
    ("where", "note"),
    [
        ("team=a", "none of the rows belongs to this shard"),
        ("team=c", "--where leaves out every row"),
    ],
)
def test_an_empty_shard_is_no_mistake_in_where(where: str, note: str, *, piped: bool) -> None:
    """The note tells which of the two has left nothing over."""
    text = "id,team\n" + "".join(f"{each},{'ab'[n % 2]}\n" for n, each in enumerate(THEIRS))
    inputs = _shard(text, SHARDED.model_copy(update={"where": [where]}), piped=piped)
    assert anyio.run(_read, inputs) == []
    assert inputs.notes[-1].startswith(note)
    assert sum("every row" in each or "none of" in each for each in inputs.notes) == 1


@pytest.mark.parametrize("limit", [None, 1, 2, 4, 99])
@pytest.mark.parametrize("resumes", [False, True])
def test_the_plan_counts_exactly_what_is_sent(limit: int | None, *, resumes: bool) -> None:
    """By `--limit` and `--resume`, which sends what failed before after all others."""
    text = "".join(f"{each},w{n},s{n}\n" for n, each in enumerate(IDS))
    checked = check_files([io.BytesIO(f"id,workflow,status\n{text}".encode())], InputOptions())
    inputs = Inputs(["ids"], checked, None, limit=limit, where=())
    if resumes:
        inputs.skip(_resumed())
    items = inputs.items()
    assert not isinstance(items, AsyncIterable)
    sent = [place for place, _ in _listed(items)]
    assert len(sent) == inputs.to_cancel
    assert sorted(inputs.breakdown.workflows) == sorted(f"w{n}" for n in sent)
    assert sorted(inputs.breakdown.statuses) == sorted(f"s{n}" for n in sent)


def test_of_a_pipe_nothing_is_known_beforehand() -> None:
    """Not even of the files that are read before it."""
    text = f"id,workflow\n{IDS[0]},w\n"
    checked = check_files([io.BytesIO(text.encode())], InputOptions())
    inputs = Inputs(["a", "-"], checked, iter([]), limit=None, where=())
    assert inputs.breakdown == Breakdown()
