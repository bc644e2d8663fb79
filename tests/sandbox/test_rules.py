"""The sample inputs and the sandbox's rule belong together: how many IDs fall under which part."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from bulkcancel.ids import parse_instance_id
from bulkcancel.sandbox.rules import execution, fate_of, status_of

SAMPLES = Path(__file__).parents[2] / "sample_inputs"


def table(name: str, encoding: str, delimiter: str) -> list[dict[str, str]]:
    with (SAMPLES / name).open(encoding=encoding, newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter, strict=True))


def id_texts(name: str) -> list[str]:
    """Return what stands where an ID belongs, row by row, read by nothing of bulkcancel's."""
    match name:
        case "ids.txt":
            lines = (SAMPLES / name).read_text("utf-8").splitlines()
            return [line for line in lines if line and not line.startswith("#")]
        case "executions.jsonl":
            lines = (SAMPLES / name).read_text("utf-8").splitlines()
            return [json.loads(line)["id"] for line in lines]
        case "excel-export.txt":
            return [row["Instance ID"] for row in table(name, "utf-16", "\t")]
        case _:
            return [row["Instance ID"] for row in table(name, "utf-8", ",")]


@pytest.mark.parametrize(
    ("name", "rows", "invalid", "fates"),
    [
        ("stuck-runs.csv", 250, 0, {"running": 234, "completed": 6, "canceled": 4}),
        (
            "trouble.csv",
            299,
            5,
            {"running": 264, "completed": 8, "canceled": 4, "unknown": 7, "forbidden": 5},
        ),
        ("excel-export.txt", 41, 0, {"running": 38, "completed": 2, "canceled": 1}),
        ("ids.txt", 31, 0, {"running": 29, "completed": 1}),
        ("executions.jsonl", 50, 0, {"running": 44, "completed": 4, "canceled": 2}),
    ],
)
def test_so_many_ids_fall_under_each_rule(
    name: str, rows: int, invalid: int, fates: dict[str, int]
) -> None:
    """Rows, rows without an ID and distinct IDs by fate; what is left over are duplicates."""
    texts = id_texts(name)
    parsed = [parse_instance_id(text) for text in texts]
    assert len(texts) == rows
    assert parsed.count(None) == invalid
    assert Counter(fate_of(each).value for each in set(parsed) if each) == fates


def test_stuck_runs_tell_what_the_sandbox_will_say() -> None:
    """Workflow and version in the export are those of the sandbox's answers."""
    for row in table("stuck-runs.csv", "utf-8", ","):
        said = execution(row["Instance ID"], None)
        assert (row["Workflow"], row["Version"]) == (said["modelName"], said["modelVersion"])


def test_executions_are_what_the_sandbox_lists() -> None:
    """Each line is the v2 object of its ID, key by key."""
    for line in (SAMPLES / "executions.jsonl").read_text("utf-8").splitlines():
        instance_id = json.loads(line)["id"]
        assert json.loads(line) == execution(instance_id, status_of(instance_id))


def test_the_files_are_encoded_as_they_claim() -> None:
    """CRLF from Domo, UTF-16 with a BOM and CRLF from Excel; no checkout has changed them."""
    assert (SAMPLES / "stuck-runs.csv").read_bytes().count(b"\r\n") == 251
    excel = (SAMPLES / "excel-export.txt").read_bytes()
    assert excel.startswith(b"\xff\xfe")
    assert excel.decode("utf-16").count("\r\n") == 42
