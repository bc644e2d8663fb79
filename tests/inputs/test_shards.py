"""Shards: each ID belongs to exactly one, the same in every program and by every way in."""

from __future__ import annotations

import hashlib
import io
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkcancel.ids import shard_of
from bulkcancel.inputs import Argument, CheckedInput, Condition, InputOptions, check_files, stream
from bulkcancel.models import InvalidRow, Target
from bulkcancel.quantities import Shard
from tests.support.input_files import A, B, C, D, ids, instance_id

N = 3
MANY = [instance_id(n) for n in range(60)]
BAD = ["x", "X", "", "é" * 300, "=1+1", "\ud800"]


@pytest.mark.parametrize(
    ("text", "count", "index"),
    [
        ("2052e10a-d142-4391-a731-2be1ab1c0188", 8, 5),
        ("2052E10A-D142-4391-A731-2BE1AB1C0188", 8, 5),
        ("2052e10a-d142-4391-a731-2be1ab1c0188", 10_000, 3245),
        ("00000000-0000-4000-8000-000000000001", 8, 4),
        ("ffffffff-ffff-4fff-bfff-ffffffffffff", 1000, 329),
        ("not-an-id", 7, 3),
    ],
)
def test_other_programs_can_tell_the_shard_of_an_id(text: str, count: int, index: int) -> None:
    """The first 8 hexadecimal digits of SHA-256 of the lower-case ID, modulo N: for good."""
    digits = hashlib.sha256(text.lower().encode("ascii")).hexdigest()[:8]
    assert shard_of(text, count) == int(digits, 16) % count == index


@settings(max_examples=60)
@given(st.uuids().map(str), st.integers(1, 300))
def test_each_id_is_in_exactly_one_shard(text: str, count: int) -> None:
    """However many there are, and however the ID is spelt."""
    holding = [index for index in range(count) if Shard(index, count).holds(text)]
    assert holding == [shard_of(text.upper(), count)]


def _table() -> bytes:
    """IDs in every spelling, twice, left out by --where, and rows without one."""
    page = f"https://acme.domo.com/workflows/instances/{A}/1.0.0/{B}"
    rows = [*MANY, C.upper(), D, page, *BAD]
    lines = ["instanceId,team", *(f"{each},a" for each in rows), *(f"{each},b" for each in MANY)]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _json() -> bytes:
    """The same from JSON, where a text may hold half a surrogate pair."""
    rows = [*MANY, C.upper(), D, *(each.replace("\ud800", "\\ud800") for each in BAD)]
    lines = [f'{{"instanceId": "{each}", "team": "a"}}' for each in rows]
    lines += [f'{{"instanceId": "{each}", "team": "b"}}' for each in MANY]
    return "\n".join(lines).encode()


def _options(index: int | None) -> InputOptions:
    shard = None if index is None else Shard(index, N)
    return InputOptions(where=(Condition.parse("team=a"),), shard=shard)


def _file(data: bytes, index: int | None) -> tuple[CheckedInput, list[str], list[InvalidRow]]:
    checked = check_files([io.BytesIO(data)], _options(index))
    return checked, ids(checked), checked.invalid


def _pipe(data: bytes, index: int | None) -> tuple[CheckedInput, list[str], list[InvalidRow]]:
    checked = CheckedInput()
    items = list(stream([data], _options(index), checked))
    targets = [item.instance_id for item in items if isinstance(item, Target)]
    return checked, targets, [item for item in items if isinstance(item, InvalidRow)]


@pytest.mark.parametrize("read", [_file, _pipe])
@pytest.mark.parametrize("data", [_table().replace(b"\xed\xa0\x80", b"y"), _json()])
def test_shards_share_out_the_rows(read, data: bytes) -> None:  # type: ignore[no-untyped-def]
    """Each ID and each row without one is told by one shard; every shard's figures add up."""
    whole, all_ids, all_invalid = read(data, None)
    assert (len(all_ids), len(all_invalid), whole.counts.other_shards) == (60, 6, 0)
    shards = [read(data, index) for index in range(N)]
    assert sorted(each for _, some, _ in shards for each in some) == sorted(all_ids)
    told = Counter(row for _, _, invalid in shards for row in invalid)
    assert told == Counter(all_invalid)
    assert len({row.text.lower(): None for row in all_invalid}) == 5  # x and X stay together
    for checked, some, invalid in shards:
        counts = checked.counts
        assert some == [each for each in all_ids if each in set(some)]  # in order
        assert (counts.targets, counts.invalid) == (len(some), len(invalid))
        assert 10 <= len(some) <= 30
        assert len(checked.seen) == 60
        assert (counts.rows, counts.duplicates) == (whole.counts.rows, whole.counts.duplicates)
        assert counts.rows == counts.targets + counts.duplicates + counts.invalid + counts.filtered
        assert counts.other_shards == 66 - len(some) - len(invalid)
        assert counts.left_out_by_where == whole.counts.filtered == 60
    places = [{row.text: index for row in invalid} for index, (_, _, invalid) in enumerate(shards)]
    where = {text: index for each in places for text, index in each.items()}
    assert where["x"] == where["X"] == shard_of("x", N)


def test_ids_as_arguments_are_shared_out_too() -> None:
    """The second time one is given it is a duplicate in every shard."""
    given = [Argument(each, n) for n, each in enumerate((A, B, C.upper(), D, A), 1)]
    found: list[str] = []
    for index in range(N):
        checked = check_files(given, InputOptions(shard=Shard(index, N)))
        counts = checked.counts
        assert (counts.rows, counts.duplicates, len(checked.seen)) == (5, 1, 4)
        assert counts.filtered == counts.other_shards == 4 - len(checked)
        found += ids(checked)
    assert sorted(found) == sorted([A, B, C, D])
