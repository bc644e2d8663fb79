"""Nothing that users can meet is missing from the docs, and nothing else stands in their tables."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path

import pytest

from bulkcancel import errors
from bulkcancel.cli import app as command_line
from bulkcancel.models import COLUMNS, Outcome
from bulkcancel.reporting import Plan, RunSummary
from bulkcancel.reporting.metrics import write_metrics
from bulkcancel.reporting.plan import _ONLY_ON_SCREEN
from tests.reporting.test_metrics import summary_of_a_run
from tests.test_readme import DOCS, README, ROOT

PACKAGE = ROOT / "bulkcancel"
MONITORING = (PACKAGE / "docs" / "monitoring.md").read_text("utf-8")
USERS = README + DOCS
COMMANDS = command_line._COMMANDS
_CODE = re.compile(r"`([^`]+)`")
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def _rows(text: str, first: str) -> list[list[str]]:
    """The rows of all tables whose first column has that heading."""
    rows, inside = [], False
    for line in text.splitlines():
        cells = [each.strip() for each in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            inside = False
        elif inside:
            rows.append(cells)
        elif cells[0] == first:
            inside = True
    return [cells for cells in rows if set(cells[0]) != {"-"}]


def _first_cells(text: str, first: str) -> list[str]:
    """What stands as code in the first column of these tables, in order."""
    return [code for cells in _rows(text, first) for code in _CODE.findall(cells[0])]


# Options


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command's help stands in a page for users, with all of its options."""
    command_line.run_cli([command, "--help"])
    options = set(_OPTION.findall(capsys.readouterr().out))
    _, _, after = USERS.partition(f"$ bulkcancel {command} --help\n")
    assert options
    assert sorted(options - set(_OPTION.findall(after.partition("\n```")[0]))) == []


# Results and exit codes


def test_every_column_is_documented() -> None:
    """The list in the README is that of the results, in their order."""
    (listed,) = re.findall(r"`(instanceId,[^`]*)`", README)
    assert listed.split() == ", ".join(COLUMNS).split()


def test_every_outcome_is_documented() -> None:
    """With what it means, whether it counts as success, and whether it is sent again."""
    assert sorted(_first_cells(README, "outcome")) == sorted(map(str, Outcome))


def _exit_codes() -> set[int]:
    codes, kinds = {0, errors.CRASHED}, [errors.BulkcancelError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        codes.add(kind.exit_code)
    return codes | {errors.InterruptedRunError("", number).exit_code for number in (1, 2, 15)}


def test_every_exit_code_is_documented() -> None:
    """What each means stands in the README, what to do about it under operations."""
    (said,) = re.findall(r"\*\*Exit codes\.\*\*.*?\n\n", README, re.DOTALL)
    explained = " ".join(cells[0] for cells in _rows(DOCS, "exit code"))
    for code in _exit_codes():
        assert re.search(rf"\b{code}\b", said), code
        assert re.search(rf"\b{code}\b", explained), code


# The summary


def test_every_key_of_the_summary_is_documented() -> None:
    """And no other; the example is a summary."""
    assert sorted(_first_cells(MONITORING, "key")) == sorted(RunSummary.model_fields)
    (example,) = re.findall(r"^```json\n(.*?)^```$", MONITORING, re.MULTILINE | re.DOTALL)
    assert RunSummary.model_validate_json(example).errors
    assert list(json.loads(example)) == list(RunSummary.model_fields)


# Metrics


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """All metrics, each with its labels."""
    path = tmp_path_factory.mktemp("metrics") / "job.prom"
    write_metrics(str(path), summary_of_a_run(exit_code=0))
    found: dict[str, list[str]] = {}
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            name, labels = re.findall(r"^(\w+)\{(.*)\}", line)[0]
            found[name] = re.findall(r'(\w+)="', labels)
    return found


def test_every_metric_is_documented(metrics: dict[str, list[str]]) -> None:
    """With its labels, besides the name that all have; and no other."""
    rows = _rows(MONITORING, "metric")
    told = {cells[0].strip("`"): sorted(_CODE.findall(cells[1])) for cells in rows}
    assert told == {name: sorted({*labels} - {"name"}) for name, labels in metrics.items()}


def test_the_alerts_and_the_example_speak_of_metrics_that_are_there(
    metrics: dict[str, list[str]],
) -> None:
    """Each rule asks for one metric, by the labels that it has, and names the job."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", MONITORING, re.MULTILINE | re.DOTALL)
    rules = block.split("- alert: ")[1:]
    assert len(rules) == 5
    for rule in rules:
        (expression,) = re.findall(r"^ +expr: (.*)$", rule, re.MULTILINE)
        ((name, _, label),) = re.findall(r'(bulkcancel_\w+)(\{(\w+)=")?', expression)
        assert name in metrics
        assert not label or label in metrics[name]
        assert "$labels.name" in rule
        assert re.search(r"^ +labels: \{severity: (page|ticket)\}$", rule, re.MULTILINE)
    (example,) = re.findall(r"^```text\n(.*?)^```$", MONITORING, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"^\w+", example, re.MULTILINE)) <= set(metrics)


def _alert_of(exit_code: int) -> list[str]:
    """The severities of the rules that ask for this exit code."""
    rules = re.findall(r"expr: bulkcancel_last_run_exit_code (.*)\n +labels: (.*)", MONITORING)
    assert len(rules) == 2
    found = []
    for expression, labels in rules:
        limits = re.findall(r"(==|>=|<=) (\d+)", expression)
        if all(eval(f"{exit_code} {sign} {limit}") for sign, limit in limits):  # of our own page
            found.append(labels)
    return found


def test_the_alerts_call_whom_the_table_of_exit_codes_names() -> None:
    """By daylight, now, or nobody."""
    rows = {code: cells[1] for cells in _rows(DOCS, "exit code") for code in cells[0].split(", ")}
    for code in _exit_codes():
        said = rows[str(code)]
        expected = [] if said == "nobody" else ["page"]
        if said.endswith("by daylight"):
            expected = ["ticket"]
        assert _alert_of(code) == [f"{{severity: {each}}}" for each in expected], code


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq")
def test_the_line_for_a_log_passes_over_what_is_no_json(tmp_path: Path) -> None:
    """flock writes a plain line into cron's log."""
    (line,) = re.findall(r"^(jq .*)$", MONITORING, re.MULTILINE)
    finished = json.dumps({"event": "run.finished", "exit_code": 4, "reason": "the deadline"})
    (tmp_path / "run.log").write_text(f'flock: failed\n{{"event": "run.note"}}\n{finished}\n')
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("4 the deadline\n", "")


# Log events


@dataclass
class _Event:
    """What the source says of an event."""

    levels: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


_LEVELS = ("debug", "info", "warning", "error")
_LOG = re.compile(r"\b_?log(ger)?(\(.*\))?$")
"""What loggers are called here."""
_LOGGING = sorted(command_line._LOGGING)


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, ast.expr, set[str]]]:
    """The calls that log an event, with the expression for its name, and the levels."""
    for call in [each for each in ast.walk(tree) if isinstance(each, ast.Call)]:
        match call.func:
            case ast.Attribute(value, level) if level in _LEVELS and _LOG.search(
                ast.unparse(value)
            ):
                yield call, call.args[0], {level}
            case ast.Name("tell"):  # one of two levels
                yield call, call.args[0], {"info", "error"}
            case ast.Attribute(_, "msg"):  # of the log itself
                named = {each.arg: each.value for each in call.keywords}
                if "event" in named:
                    yield call, named["event"], {ast.literal_eval(named["level"])}


def _names(name: ast.expr, function: ast.AST) -> set[str]:
    """What an event may be called: its word, or words made of every command's name."""
    if isinstance(name, ast.Constant):
        return {str(name.value)}
    made = [each for each in ast.walk(function) if isinstance(each, ast.JoinedStr)]
    ends = [ast.unparse(each).strip("f'\"").rpartition("}")[2] for each in made]
    ends = [end for end in ends if re.fullmatch(r"\.[a-z]+", end)]
    assert ends, f"no test knows how this event is named: {ast.unparse(name)}"
    return {f"{command}{end}" for command in _LOGGING for end in ends}


def _keys(call: ast.Call, event: str) -> set[str]:
    keys: set[str] = {each.arg for each in call.keywords if each.arg} - {"event", "level"}
    for unpacked in [ast.unparse(each.value) for each in call.keywords if not each.arg]:
        if unpacked == "plan.as_event()":
            keys |= {each.name for each in fields(Plan)} - _ONLY_ON_SCREEN
        elif unpacked == "summary.as_event()":
            keys |= set(RunSummary.model_fields)
        else:
            assert unpacked == "figures", unpacked
            keys |= _figures(event.partition(".")[0])
    return keys


def _figures(command: str) -> set[str]:
    """The figures that a command without a summary hands to `Display.finished`."""
    source = (PACKAGE / "cli" / "commands" / f"{command}.py").read_text("utf-8")
    calls = [each for each in ast.walk(ast.parse(source)) if isinstance(each, ast.Call)]
    finished = [each for each in calls if ast.unparse(each.func).endswith("display.finished")]
    return {str(each.arg) for call in finished for each in call.keywords}


@cache
def _events() -> dict[str, _Event]:
    """All events that the source can log."""
    events: dict[str, _Event] = defaultdict(_Event)
    functions = ast.FunctionDef, ast.AsyncFunctionDef
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        for function in [each for each in ast.walk(tree) if isinstance(each, functions)]:
            for call, name, levels in _calls(function):
                for each in _names(name, function):
                    events[each].levels |= levels
                    events[each].keys |= _keys(call, each)
    return dict(events)


def test_the_events_are_found() -> None:
    """What the tests below compare is there: those of every kind of call."""
    expected = {"run.planned", "run.finished", "log.lost", "bug", "cancel.retry_scheduled",
                "run.progress", "find.finished", "verify.refused", "run.failed"}  # fmt: skip
    assert expected <= set(_events())
    assert _events()["find.finished"].keys == {"host", "found", "left_out"}
    assert _events()["log.lost"].levels == {"error"}
    dotted = re.compile(r"""\.(?:debug|info|warning|error)\(\s*["']([a-z_]+\.[a-z_]+)["']""")
    everywhere = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    assert set(dotted.findall(everywhere)) <= set(_events())


def test_every_log_event_is_documented() -> None:
    """With its levels and its keys; and no other."""
    told = {}
    for cells in _rows(MONITORING, "event"):
        keys = set(_CODE.findall(cells[3]))
        if "(#the-summary)" in cells[3]:
            keys |= set(RunSummary.model_fields)
        for name in _CODE.findall(cells[0]):
            assert name not in told, name
            told[name] = (set(re.split(", ", cells[1])), keys)
    assert {name: (event.levels, event.keys) for name, event in _events().items()} == told
