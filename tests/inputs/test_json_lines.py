"""JSON Lines, and what is nearly JSON Lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bulkcancel.errors import InputError
from tests.support.input_files import A, B, C, check, ids, places

if TYPE_CHECKING:
    from pathlib import Path


def test_objects_and_strings_are_read(tmp_path: Path) -> None:
    """The ID stands under its key in each object, in any order, or is a string by itself."""
    content = f'{{"m": {{"id": 1}}, "instanceId": "{A}"}}\n\n{{"Execution ID": "{B}"}}\n"{C}"\n'
    for name in ("runs.jsonl", "runs.txt", "-"):
        checked = check(tmp_path, content, name=name)
        assert (ids(checked), checked.invalid) == ([A, B, C], [])
        assert [place.rpartition(":")[2] for place in places(checked)] == ["1", "3", "4"]


def test_strings_alone_are_read(tmp_path: Path) -> None:
    """A file of JSON strings needs no extension."""
    assert ids(check(tmp_path, f'"{A}"\n"{B}"\n', name="ids")) == [A, B]


def test_rows_without_an_id_are_invalid(tmp_path: Path) -> None:
    """Missing, null, a number, an object, given twice: each says what it is."""
    content = (
        '{"x": 1}\n{"id": null}\n{"id": 12}\n{"id": {"a": 1}}\n{"id": true}\n'
        f'{{"id": "{A}", "id": "{B}"}}\n{{"id": "\\ud800"}}\n{{"id": ""}}\n'
    )
    checked = check(tmp_path, content, name="runs.jsonl")
    assert ids(checked) == []
    assert [row.reason for row in checked.invalid] == [
        'no "instanceId" in this object; its keys are "x"',
        "null, not a string",
        "a number, not a string",
        "an object or an array, not a string",
        "not a string",
        '"id" stands here twice',
        "not a UUID",
        "empty",
    ]
    assert [row.text for row in checked.invalid][6] == "\\ud800"


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (f'{{"id": "{A}"}}\n{{"id": \n', 2, "is not JSON"),
        (f'{{"id": "{A}"}}\n{B}\n', 2, "is not JSON"),
        (f'["{A}"]\n', 1, r"jq -c '\.\[\]'"),
        ("[\n", 1, r"jq -c '\.\[\]'"),
        (f'{{"id": "{A}"}}\n["{A}"]\n', 2, "JSON array"),
        (f'{{\n"id": "{A}"\n}}\n', 1, r"jq -c \."),
        (f'{{"executionId": "{A}", "instanceId": "{B}"}}\n', 1, "--column NAME"),
        ('{"id": ' + "[" * 60_000 + "\n", 1, "is not JSON"),
        ('{"id": "' + "x" * 140_000 + '"}\n', 1, "over 128 KiB"),
    ],
)
def test_what_is_not_json_lines_is_refused(
    tmp_path: Path, content: str, line: int, message: str
) -> None:
    """The line is named, with the jq command that helps."""
    with pytest.raises(InputError, match=rf"line {line}: .*{message}"):
        check(tmp_path, content, name="runs.jsonl")


def test_where_compares_scalars_as_they_are_spelt(tmp_path: Path) -> None:
    """Strings by their text, numbers and booleans by their JSON text, null as empty."""
    content = (
        f'{{"id": "{A}", "test": true, "v": 1.0, "s": null}}\n'
        f'{{"id": "{B}", "test": false, "v": "1.0", "s": ""}}\n{{"id": "{C}", "v": 1}}\n'
    )
    for where, expected in (
        ("test=true", [A]),
        ("v=1.0", [A, B]),
        ("s=", [A, B, C]),
        ("test!=true", [B, C]),
    ):
        assert ids(check(tmp_path, content, name="runs.jsonl", where=(where,))) == expected


def test_where_finds_a_misspelt_key_in_the_first_object(tmp_path: Path) -> None:
    """`stauts!=x` would hold for every object: it is refused before it can."""
    with pytest.raises(InputError, match=r'no "stauts" in the first object; its keys are "id"'):
        check(tmp_path, f'{{"id": "{A}"}}\n', name="runs.jsonl", where=("stauts!=x",))


def test_a_guessed_encoding_decides_nothing(tmp_path: Path) -> None:
    """A Latin-1 name elsewhere is read past; in the ID or where a condition looks it is not."""
    content = f'{{"id": "{A}", "n": "Zo\xeb"}}\n'.encode("latin-1")
    assert ids(check(tmp_path, content, name="runs.jsonl")) == [A]
    with pytest.raises(InputError, match="--encoding"):
        check(tmp_path, content, name="runs.jsonl", where=("n!=x",))
    with pytest.raises(InputError, match="--encoding"):
        check(tmp_path, content, name="runs.jsonl", column="n")
    with pytest.raises(InputError, match="a key"):
        check(tmp_path, f'{{"id": "{A}", "\xeb": 1}}\n'.encode("latin-1"), name="runs.jsonl")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (f'{{"id": "{B}", "s": {{"x": 1}}}}', r'line 2: .*"s" holds an object'),
        (f'{{"id": "{B}", "s": "x", "s": "y"}}', r'line 2: .*"s" stands in this object twice'),
        (f'"{B}"', "line 2: is not an object"),
    ],
)
def test_where_refuses_what_it_cannot_compare(tmp_path: Path, second: str, message: str) -> None:
    """An object, a key given twice, a string alone: nothing is guessed."""
    first = f'{{"id": "{A}", "s": "x"}}'
    with pytest.raises(InputError, match=message):
        check(tmp_path, f"{first}\n{second}\n", name="runs.jsonl", where=("s!=z",))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f'{{"id": "{B}", "instanceId": "{A}"}}', "instanceId"),
        (f'{{"id": "{B}", "type": "x", "data": {{"instanceId": "{A}"}}}}', "data.instanceId"),
        (f'{{"_id": "{B}", "_source": {{"executionId": "{A}"}}}}', "_source.executionId"),
        (f'{{"a": {{"b": {{"c": {{"instance_id": "{A}"}}}}}}, "id": "{B}"}}', "a.b.c.instance_id"),
        (f'{{"id": "{A}", "model": {{"id": "{B}"}}, "status": "x"}}', "id"),
        (f'{{"_id": "{A}"}}', "_id"),
        (f'{{"data.instanceId": "{A}", "id": "{B}"}}', "data.instanceId"),
        (f'{{"id": "{A}", "parent": {{"instanceId": "{B}"}}}}', "id"),
        (f'{{"id": "{A}", "steps": [{{"n": 1}}], "tags": ["x"], "modelId": "{B}"}}', "id"),
        (f'{{"id": "{A}", "traceId": "{B}", "createdBy": {{"id": "{C}"}}}}', "id"),
        (f'{{"id": "{A}", "url": "https://acme.domo.com/workflows/instances/{B}/1.0/{A}"}}', "id"),
        (f'{{"instanceId": "{A}", "children": [{{"instanceId": "{B}"}}]}}', "instanceId"),
    ],
)
def test_the_key_that_names_an_instance_is_taken(tmp_path: Path, text: str, key: str) -> None:
    """An envelope's own `id` is not; of which key the IDs are read is said."""
    checked = check(tmp_path, f"{text}\n", name="events.jsonl")
    assert (ids(checked), checked.invalid) == ([A], [])
    assert checked.notes == [f'IDs are read from key "{key}"']


@pytest.mark.parametrize(
    "text",
    [
        f'{{"event": {{"id": "{A}"}}}}',
        f'{{"parent": {{"instanceId": "{A}"}}}}',
        f'{{"a": {{"b": {{"c": {{"d": {{"instanceId": "{A}"}}}}}}}}}}',
    ],
    ids=["an id further in", "a parent's", "five deep"],
)
def test_a_key_that_may_be_of_something_else_is_none(tmp_path: Path, text: str) -> None:
    """No ID is guessed from it: the object is an invalid row."""
    checked = check(tmp_path, f"{text}\n", name="events.jsonl")
    assert (ids(checked), checked.counts.invalid) == ([], 1)


@pytest.mark.parametrize(
    "text",
    [
        f'{{"id": "{A}", "steps": [{{"id": "{B}"}}]}}',
        f'{{"id": "{A}", "ids": ["{B}"]}}',
        f'{{"id": "{A}", "events": [{{"run": "{B}"}}]}}',
        f'{{"id": "{A}", "data": {{"entries": [{{"x": 1}}, {{"instanceId": "{B}"}}]}}}}',
        f'{{"id": "{A}", "runId": "{B}"}}',
        f'{{"id": "{A}", "execution": "{B}"}}',
        f'{{"id": "{A}", "url": "https://acme.domo.com/workflows/instances/{C}/1.0/{B}"}}',
        f'{{"id": "{A}", "a": {{"b": {{"c": {{"d": {{"instanceId": "{B}"}}}}}}}}}}',
        json.dumps({"id": A, "payload": {"data": json.dumps({"instanceId": B})}}),
        f'{{"id": "{A}", "startedBy": {{"instanceId": "{B}"}}}}',
        f'{{"id": "{A}", "source": {{"executionId": "{B}"}}}}',
        f'{{"id": "{A}", "ec2": {{"instanceId": "{B}"}}}}',
        f'{{"id": "{A}", "payload": {{"updatedInstance": "{B}"}}}}',
        f'{{"id": "{A}", "modelRun": {{"id": "{B}"}}}}',
        f'{{"id": "{A}", "originalEvent": {{"instanceId": "{B}"}}}}',
    ],
)
def test_an_id_beside_another_that_may_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    """In a list, in text, in a link, too deep, or of a run that is related to this one."""
    with pytest.raises(InputError, match=r"line 1: .*(use --column NAME|give one a line)"):
        check(tmp_path, f"{text}\n", name="events.jsonl")
    assert ids(check(tmp_path, f"{text}\n", name="events.jsonl", column="id")) == [A]


@pytest.mark.parametrize(
    "text",
    [
        f'{{"specversion": "1.0", "id": "{A}", "data": {{"name": "x"}}}}',
        f'{{"_id": "{A}", "_source": {{"message": "no instance here"}}}}',
        f'{{"detail-type": "x", "id": "{A}", "resources": []}}',
    ],
)
def test_a_messages_own_id_is_no_instances(tmp_path: Path, text: str) -> None:
    """CloudEvents, search hits and event buses say by their keys what they are."""
    checked = check(tmp_path, f"{text}\n", name="events.jsonl")
    assert (ids(checked), checked.counts.invalid) == ([], 1)


def test_a_named_key_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """In the first object, with the keys there are; later on the row is invalid."""
    text = f'{{"id": "{A}"}}\n{{"x": 1}}\n'
    with pytest.raises(InputError, match=r'line 1: there is no "nope" in the first .*"id"'):
        check(tmp_path, text, name="x.jsonl", column="nope")
    assert check(tmp_path, text, name="x.jsonl", column="id").counts.invalid == 1


@pytest.mark.parametrize("inner", ["data.id", "event.run", "data.workflow.runId", "payload.key"])
def test_an_id_beside_one_further_in_is_refused(tmp_path: Path, inner: str) -> None:
    """The message's or the instance's: nobody can tell but who wrote it, with --column."""
    value: object = B
    for key in reversed(inner.split(".")):
        value = {key: value}
    text = json.dumps({"id": A, **value}) if isinstance(value, dict) else ""
    with pytest.raises(InputError, match=rf'"id", "{inner}": use --column NAME'):
        check(tmp_path, f"{text}\n", name="events.jsonl")
    assert ids(check(tmp_path, f"{text}\n", name="events.jsonl", column=inner)) == [B]
    assert ids(check(tmp_path, f"{text}\n", name="events.jsonl", column="id")) == [A]


def test_a_path_can_be_named(tmp_path: Path) -> None:
    """As messages show it, for the ID and for conditions."""
    line = '{{"run": {{"id": "{}", "state": "{}"}}, "instanceId": "{}"}}\n'
    content = line.format(A, "STUCK", C) + line.format(B, "DONE", C)
    checked = check(tmp_path, content, name="x.jsonl", column="run.id", where=("run.state=STUCK",))
    assert (ids(checked), checked.counts.filtered) == ([A], 1)


def test_an_id_that_was_an_events_is_found_out(tmp_path: Path) -> None:
    """Objects with `id` alone among envelopes are of something else, wherever they stand."""
    event, envelope = f'{{"id": "{A}"}}\n', f'{{"id": "{C}", "data": {{"instanceId": "{B}"}}}}\n'
    checked = check(tmp_path, envelope + event, name="x.jsonl")
    assert ids(checked) == [B]
    assert [row.reason for row in checked.invalid] == [
        'no "data.instanceId" in this object; its keys are "id"'
    ]
    with pytest.raises(InputError, match=r"line 2: .*--column data\.instanceId"):
        check(tmp_path, event + envelope, name="x.jsonl")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (f'{{"instances": [{{"id": "{A}"}}, {{"id": "{B}"}}]}}', r"jq -c '\.instances\[\]'"),
        (f'{{"id": "{C}", "instances": [{{"id": "{A}"}}]}}', r"jq -c '\.instances\[\]'"),
        (f'{{"id": "{C}", "rows": [{{"instanceId": "{A}"}}]}}', r"jq -c '\.rows\[\]'"),
        (f'{{"data": {{"items": ["{A}"]}}, "n": 1}}', r"jq -c '\.data\.items\[\]'"),
        ('{"executions": [], "total": 0}', r"jq -c '\.executions\[\]'"),
        (f'{{"a-b": ["{A}"]}}', r"jq -c '\.NAME\[\]'"),
        ('{\n  "instances": [\n', r"jq -c '\.NAME\[\]'"),
        ('{"instances": [\n', r"jq -c '\.NAME\[\]'"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"where": ("status=x",)}])
def test_an_object_that_lists_instances_is_refused_with_the_fix(
    tmp_path: Path, text: str, advice: str, options: dict[str, Any]
) -> None:
    """It is never one invalid row, and the list's own `id` is no instance's."""
    with pytest.raises(InputError, match=f"line 1: .*{advice}"):
        check(tmp_path, f"{text}\n", name="x.json", **options)


def test_files_put_together_need_nothing(tmp_path: Path) -> None:
    """Each object has its own keys; a mark where the second file began is no part of it."""
    content = f'\ufeff{{"id": "{A}", "x": 1}}\n\ufeff{{"x": "{C}", "id": "{B}"}}\n'
    assert ids(check(tmp_path, content, name="x.jsonl")) == [A, B]
