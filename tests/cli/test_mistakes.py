"""Mistakes on the command line: a sentence with the fix, in no library's words, exit 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bulkcancel.cli.app import run_cli
from bulkcancel.text import conceal
from tests.support.runs import make_ids

RAW = (
    "Unused", "Token", "Input should", "unable to", "Parameter", "parameter", "Invalid value",
    "[type=", "pydantic", "Traceback", "bool.", "int.", "requires an argument", "'x'",
)  # fmt: skip
(ID,) = make_ids(1)


def _told(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """What is said of a command line that must be refused."""
    assert run_cli(arguments) == 2
    out, error = capfd.readouterr()
    assert out == ""
    assert error.startswith("bulkcancel: ")
    assert error.count("\n") == 1
    return error.removeprefix("bulkcancel: ").strip()


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("BULKCANCEL_LOG_FORMAT", "console")
    (tmp_path / "stuck").touch()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("stuck.csv", "'stuck.csv' is no command: did you mean: bulkcancel run stuck.csv"),
        ("stuck.csv --yes", "did you mean: bulkcancel run stuck.csv …"),
        ("stuck", "did you mean: bulkcancel run stuck"),
        (ID, f"did you mean: bulkcancel run {ID}"),
        ("runn x.csv", "'runn' is no command: did you mean run?"),
        ("sandbx", "did you mean sandbox?"),
        ("cancel", "'cancel' is no command: there are run, find, verify, report and sandbox"),
        ("--rate 5", "unknown option --rate: options follow the command, run, find, verify, rep"),
        ("--versio", "did you mean --version?"),
        ("run x --concurency 3", "unknown option --concurency: did you mean --concurrency?"),
        ("run x --concurency=3", "unknown option --concurency: did you mean --concurrency?"),
        ("run x --dryrun", "did you mean --dry-run?"),
        ("run x --helpp", "did you mean --help?"),
        ("run x --frobnicate", "unknown option --frobnicate: see bulkcancel run --help"),
        ("run x --rate", "--rate needs a value: see bulkcancel run --help"),
        ("run x -o", "-o needs a value: see bulkcancel run --help"),
        ("run x -qo", "-o needs a value: see bulkcancel run --help"),
        ("run x --where", "--where needs a value: see bulkcancel run --help"),
        ("run x --burst many", "--burst needs a whole number"),
        ("run x --burst 1.5", "--burst needs a whole number"),
        ("run x --burst=", "--burst needs a whole number"),
        ("run x --burst 10001", "--burst must be 10000 or less"),
        ("run x --limit -5", "--limit must be 1 or more"),
        ("run x --format xml", "--format may be auto, csv, tsv, jsonl or lines"),
        ("run x --output-format tsv", "--output-format may be auto, csv or jsonl"),
        ("run x --log-format jsn", "--log-format may be auto, console or json: did you mean json?"),
        ("run x --log-level WARN", "or error: did you mean warning?"),
        ("run t --where statsu=open --sandbox", 'column "statsu"; the columns are "id", "status"'),
        ("run t --where statsu=open --sandbox", '"id", "status": did you mean "status"?'),
        ("run t --where Sta_tu=open --sandbox", 'did you mean "status"?'),
        ("run j --where statsu=open --sandbox", 'keys are "id", "status": did you mean "status"?'),
        ("run x --rate 5 --rate 6", "--rate is given twice: give it once"),
        ("run x --resume=maybe", "--resume is on or off: give it alone, or with =true or =false"),
        ("run x --again failed", "--again says what --resume sends again: give --resume as well"),
        ("run x --resume --again invalid", "--again: invalid rows hold no instance ID"),
        ("run x --resume --again gone", "--again: 'gone' is no outcome"),
        ("run x --ok notfound", "--ok: 'notfound' is no outcome: did you mean not_found?"),
        ("run x --timeout 30m1h", "--timeout: '30m1h' is not a duration such as 30, 30s"),
        ("run x -o results.txt --sandbox", "--output-format"),
        ("run x --instance acme --base-url https://gateway.example",
         "give --instance or --base-url, not both"),
        ("sandbox stuck.csv", "bulkcancel sandbox takes options alone"),
        ("sandbox --prot 1", "unknown option --prot: did you mean --port?"),
        ("sandbox --port", "--port needs a value: see bulkcancel sandbox --help"),
        ("sandbox --port http", "--port needs a whole number"),
        ("sandbox --error-rate often", "--error-rate needs a number"),
        ("sandbox --port 1 --port 2", "--port is given twice: give it once"),
        ("sandbox -abc", "unknown option -a: see bulkcancel sandbox --help"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_sentence_with_the_fix(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, arguments: str, said: str
) -> None:
    """What is wrong and what would be right, in plain words."""
    (tmp_path / "x").write_text(f"{ID}\n")
    (tmp_path / "t").write_text(f"id,status\n{ID},open\n")
    (tmp_path / "j").write_text(json.dumps({"id": ID, "status": "open"}) + "\n")
    error = _told(arguments.split(), capfd)
    assert said in error
    assert [word for word in RAW if word in error] == []


def test_no_option_at_all_is_no_mistake_of_an_option(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every default is one that the command itself accepts; what is missing is the instance."""
    for name in ("BULKCANCEL_LOG_FORMAT", "DOMO_INSTANCE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "x").write_text(f"{ID}\n")
    assert run_cli(["run", "x"]) == 2
    assert (
        "no Domo instance given: use --instance acme (for acme.domo.com), or set DOMO_INSTANCE"
    ) in capfd.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("BULKCANCEL_BURST", "many", "BULKCANCEL_BURST needs a whole number"),
        ("BULKCANCEL_RATE", "fast", "BULKCANCEL_RATE: 'fast' is not a rate"),
        ("BULKCANCEL_RESUME", "maybe", "BULKCANCEL_RESUME is on or off"),
        ("BULKCANCEL_OK", "", "BULKCANCEL_OK is empty: give it a value, or unset it"),
        ("BULKCANCEL_WHERE", " ", "BULKCANCEL_WHERE is empty: give it a value, or unset it"),
        ("BULKCANCEL_RAT", "5", "'BULKCANCEL_RAT' is no setting"),
    ],
)
def test_where_a_mistake_comes_from(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    said: str,
) -> None:
    """A variable is named as such: nobody finds it among the flags."""
    monkeypatch.setenv(variable, value)
    assert said.replace("'", "") in _told(["run", "x"], capfd).replace("'BULK", "BULK").replace(
        "'", ""
    )


@pytest.mark.parametrize("text", ["rate = [1, 2]", "rate = 'fast'", "burst = 'many'"])
def test_a_mistake_in_the_settings_file_is_named_as_one(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    """By the file's key."""
    (tmp_path / "ours.toml").write_text(text)
    error = _told(["run", "x", "--config", "ours.toml"], capfd)
    assert error.startswith(f"the settings file's {text.partition(' ')[0]}")


@pytest.mark.parametrize(
    "arguments",
    ["run x --token {}", "run x --token={}", "run x -t{}", "sandbox --tokn={}", "sandbox --tokn {}",
     "sandbox --token {} --token {}", "sandbox {}", "run x --burst {}", "run x --resume={}"],
)  # fmt: skip
def test_what_may_be_a_token_is_not_repeated(
    capfd: pytest.CaptureFixture[str], arguments: str
) -> None:
    """Who gives it as an argument is told of the slip, and a log does not keep it."""
    assert "s3cret" not in _told(arguments.format("s3cret", "s3cret").split(), capfd)


_LOGIN = "http://user:s3cret@proxy.example:80"
_SECRETS = (
    "https://s3cret@proxy.example", "user:s3cret@proxy:80", "http://user:p@ss/s3cret@proxy",
    "DDCIs3cret0123456789", "0123456789abcdefs3cret0123456789abcdef",
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "secret"),
    [
        *((arguments, _LOGIN) for arguments in (
            "{}", "run x {} --sandbox", "run x -o {} --summary {}", "run x --config {}",
            "run x --token-file {}", "run x --ca-file {}", "run x --instance {}", "run x --ok {}",
            "run x --base-url {}", "run x --where {}", "verify {}", "find {}", "find -o {}",
        )),
        *(("run x {} --sandbox --log-format json", secret) for secret in (_LOGIN, *_SECRETS)),
        *(("run x --rate {}", secret) for secret in _SECRETS),
    ],
)  # fmt: skip
def test_a_secret_in_the_wrong_place_is_not_repeated(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: str, secret: str,
) -> None:  # fmt: skip
    """An address with a password or a token, given as an input or as another option's value."""
    monkeypatch.setenv("DOMO_DEVELOPER_TOKEN", "t")
    monkeypatch.setenv("DOMO_INSTANCE", "acme")
    (tmp_path / "x").write_text(f"id,status\n{ID},open\n")
    assert run_cli(arguments.format(secret, secret).split()) == 2
    told = capfd.readouterr()
    assert "s3cret" not in told.out + told.err


@pytest.mark.parametrize(
    "text",
    [f"cannot read {ID}: no", "cannot read me@work.csv: no",
     "stuck.csv:17: user@example.com is no UUID",
     f"{ID.replace('-', '')}: a UUID without its dashes",
     "in /data/4f/0123456789abcdef0123456789abcdef0123",
     "stuck-runs-of-production-2026-11-29-0800.csv",
     "the base URL 'https://acme.example/x?y' must be"],
)  # fmt: skip
def test_what_is_no_secret_is_repeated(text: str) -> None:
    """IDs, names of files and addresses: what a person looks for in a message."""
    assert conceal(text) == text


def test_files_may_stand_on_both_sides_of_an_option(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """`run may.csv --dry-run june.csv` reads both."""
    one, two = make_ids(2)
    (tmp_path / "one.txt").write_text(f"{one}\n")
    (tmp_path / "two.txt").write_text(f"{two}\n")
    assert run_cli(["run", "one.txt", "--dry-run", "two.txt", "--sandbox"]) == 0
    assert "to cancel 2 " in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize(
    "option",
    ["--config", "--token-file", "--summary", "--log-file", "--instance", "--base-url", "--column"],
)
def test_an_empty_value_is_a_mistake(option: str, capfd: pytest.CaptureFixture[str]) -> None:
    """As a variable leaves it that is not set: what it was to say for safety would be lost."""
    said = _told(["run", "x", "--sandbox", option, ""], capfd)
    assert f"{option} is empty (is a variable empty?)" in said


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        ("run x --rate abc", {}),
        ("run x --nope", {}),
        ("run x --resume --overwrite", {}),
        ("run x --again failed --log-format json", {"BULKCANCEL_LOG_FORMAT": "console"}),
        ("run x --log-format=json --limit 0", {"BULKCANCEL_LOG_FORMAT": "console"}),
        ("run x", {"BULKCANCEL_RATE": "abc"}),
        ("run x --config none.toml", {}),
    ],
)
def test_where_logs_would_be_json_a_refusal_is_an_event(
    arguments: str, variables: dict[str, str], capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Without a terminal, or as asked for: a schedule's log has no line that is no JSON."""
    monkeypatch.setenv("BULKCANCEL_LOG_FORMAT", "json")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run_cli(arguments.split()) == 2
    told = json.loads(capfd.readouterr().err)
    assert (told["event"], told["level"], told["exit_code"]) == ("run.refused", "error", 2)
    assert told["error"]


def test_a_name_is_shown_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    """Colons around a word are no picture, brackets no colour."""
    assert ":bomb:[red].csv: No such file" in _told(["run", ":bomb:[red].csv", "--sandbox"], capfd)
