"""`--summary` holds what its schema says, however the run ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bulkcancel.models import Outcome
from bulkcancel.reporting import RunSummary
from tests.reporting.test_metrics import summary_of_a_run
from tests.support.processes import bulkcancel
from tests.support.runs import make_ids

_REFUSED = """
from bulkcancel import errors
from bulkcancel.results import ResultsFile
def begin(self):
    raise errors.OutputError("is a swamp")
ResultsFile.begin = begin
"""
_SOON = """
from bulkcancel.engine.verification import confirmer
confirmer._FIRST_AFTER_S = 0.02
"""
ENDINGS = {
    "all done": ("", "--rate 5000", 0),
    "some failed": ("", "--rate 5000 --shard 0/2 --where n!=3", 1),
    "stopped": ("", "--rate 50 --concurrency 1 --max-failures 1", 4),
    "refused before the first request": (_REFUSED, "", 2),
    "verified": (_SOON, "--rate 5000 --verify --verify-timeout 0.05", 1),
}


def _summary(cwd: Path, ending: str) -> dict[str, Any]:
    fault, options, code = ENDINGS[ending]
    ids = make_ids(8)
    if ending in {"some failed", "stopped"}:
        ids = ["x", "", *ids, *(f"{each[:-3]}404" for each in ids)]
    rows = "".join(f"{each},{n}\n" for n, each in enumerate(ids))
    (cwd / "ids.csv").write_text(f"id,n\n{rows}")
    words = f"run ids.csv --sandbox --summary s.json {options}".split()
    done = bulkcancel(*words, cwd=cwd, fault=fault)
    assert done.code == code, done.stderr
    read: dict[str, Any] = json.loads((cwd / "s.json").read_text())
    return read


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_summary_is_what_the_schema_says(tmp_path: Path, ending: str) -> None:
    """No key is missing, none is extra, and their order is the schema's; the version is first."""
    read = _summary(tmp_path, ending)
    summary = RunSummary.model_validate_json(json.dumps(read))
    assert list(read) == list(RunSummary.model_fields)
    assert next(iter(read)) == "schema_version"
    assert summary.exit_code == ENDINGS[ending][2]
    assert bool(summary.reason) is (ending in {"stopped", "refused before the first request"})
    assert summary.started_at <= summary.ended_at
    assert summary.model_dump(mode="json", include={"outcomes", "errors", "ok"}) == {
        key: read[key] for key in ("outcomes", "errors", "ok")
    }


@pytest.fixture
def failed() -> dict[str, Any]:
    """A summary with a failure in it."""
    run = summary_of_a_run()
    run.stats.errors["timeout: …"] = 3
    run.stats.examples["timeout: …"] = make_ids(1)[0]
    run.stats.sources["timeout: …"] = "stuck.csv:2"
    read: dict[str, Any] = json.loads(json.dumps(run.as_dict()))
    RunSummary.model_validate_json(json.dumps(read))
    return read


@pytest.mark.parametrize("key", RunSummary.model_fields)
def test_a_summary_without_one_of_the_keys_is_none(failed: dict[str, Any], key: str) -> None:
    """Every key is always there; of another type it is noticed as well."""
    without = {name: value for name, value in failed.items() if name != key}
    with pytest.raises(ValidationError, match=key):
        RunSummary.model_validate_json(json.dumps(without))
    with pytest.raises(ValidationError, match=key):
        RunSummary.model_validate_json(json.dumps(failed | {key: None}))


@pytest.mark.parametrize("extra", [{"new": 1}, {"schema_version": 2}])
def test_a_summary_of_another_version_is_noticed(
    failed: dict[str, Any], extra: dict[str, Any]
) -> None:
    """A key that the schema does not have belongs to another version of it."""
    with pytest.raises(ValidationError):
        RunSummary.model_validate_json(json.dumps(failed | extra))


def test_the_schema_can_be_printed() -> None:
    """By a command, with a type and a meaning for every key; nothing else is printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "bulkcancel.reporting.summary"],
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    schema = json.loads(done.stdout)
    assert schema["$schema"].startswith("https://json-schema.org/draft/2020-12/")
    assert schema["additionalProperties"] is False
    assert sorted(schema["required"]) == sorted(RunSummary.model_fields)
    assert all(each["description"] for each in schema["properties"].values())
    assert schema["$defs"]["Outcome"]["enum"] == [str(each) for each in Outcome]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of its own")
def test_a_reader_of_the_schema_may_go_early() -> None:
    """As `head` does: no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bulkcancel.reporting.summary"],
            stdout=writing, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
