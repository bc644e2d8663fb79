"""Homes that cannot be looked at, no environment at all, and faults of bulkcancel itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import CANARY, Finished, bulkcancel, command, environment, write_ids
from tests.support.runs import make_ids

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX homes and users")
IS_ROOT = sys.platform != "win32" and os.geteuid() == 0
NOBODY = """
import os, sys
import bulkcancel.sandbox.server, anyio._backends._asyncio
from bulkcancel.cli.app import run_cli
told, sys.stderr = sys.stderr, open(os.devnull, "w")
for words in ("run - --sandbox --dry-run", "run - --rate x", "run /no/file --sandbox -o /no/o.csv"):
    run_cli(words.split())  # loads what this user may not be able to read
sys.stderr = told
os.setgroups([])
os.setresgid(54321, 54321, 54321)
os.setresuid(54321, 54321, 54321)
"""
"""A user that the system's list does not have; root may look everywhere."""

IDS = make_ids(3)


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A directory that others than root may not look into, with a settings file in it."""
    tmp_path.chmod(0o777)
    home = tmp_path / "home"
    for place in (home / "bulkcancel", home / ".config" / "bulkcancel"):
        place.mkdir(parents=True)
        (place / "config.toml").write_text("rate = 3\n")
    home.chmod(0)
    yield home
    home.chmod(0o700)


def _dry_run(cwd: Path, *options: str, fault: str = "", **variables: str | None) -> Finished:
    write_ids(cwd / "ids.txt", IDS)
    env = environment()
    for name, value in variables.items():
        env.pop(name, None)
        env.update({} if value is None else {name: value})
    done = bulkcancel(
        "run", "ids.txt", "--sandbox", "--dry-run", *options, cwd=cwd, env=env, fault=fault
    )
    assert "Traceback" not in done.stderr
    return done


def _rate(done: Finished) -> object:
    assert done.code == 0, done.stderr
    (planned,) = done.events("run.planned")
    return planned["rate_per_s"]


def test_without_any_environment(tmp_path: Path) -> None:
    """As `env -i` and bare containers start it: it runs."""
    write_ids(tmp_path / "ids.txt", IDS)
    done = bulkcancel(
        "run", "ids.txt", "--sandbox", "--rate", "1000", cwd=tmp_path, env={}, cold=True
    )
    assert done.code == 0, done.stderr
    assert len(done.rows()) == len(IDS)


@pytest.mark.parametrize("variable", ["HOME", "XDG_CONFIG_HOME"])
def test_a_place_that_cannot_be_looked_at_is_no_file(
    tmp_path: Path, closed: Path, variable: str
) -> None:
    """A service with its home shut off, `sudo -u`: the defaults hold."""
    done = _dry_run(tmp_path, fault=NOBODY if IS_ROOT else "", **{variable: str(closed)})
    assert _rate(done) == 10


@pytest.mark.parametrize("home", [None, "", "home", "/dev/null", "/nonexistent"])
def test_a_home_that_is_none(tmp_path: Path, home: str | None) -> None:
    """Not set, empty, no directory; one that is relative would be the current directory."""
    tmp_path.chmod(0o777)
    here = tmp_path / "home" / ".config" / "bulkcancel"
    here.mkdir(parents=True)
    (here / "config.toml").write_text("rate = 3\n")
    fault = NOBODY if IS_ROOT and home is None else ""
    assert _rate(_dry_run(tmp_path, fault=fault, HOME=home)) == 10


def test_the_place_that_the_desktop_names(tmp_path: Path) -> None:
    """`XDG_CONFIG_HOME` comes before `~/.config`; a relative one does not count."""
    for name, rate in (("home/.config", 3), ("xdg", 4)):
        place = tmp_path / name / "bulkcancel"
        place.mkdir(parents=True)
        (place / "config.toml").write_text(f"rate = {rate}\n")
    home, named = str(tmp_path / "home"), str(tmp_path / "xdg")
    assert _rate(_dry_run(tmp_path, HOME=home, XDG_CONFIG_HOME=named)) == 4
    assert _rate(_dry_run(tmp_path, HOME=home, XDG_CONFIG_HOME="xdg")) == 3
    assert _rate(_dry_run(tmp_path, HOME=home, XDG_CONFIG_HOME="")) == 3


@pytest.mark.parametrize("named", [True, False])
def test_a_file_that_is_there_and_cannot_be_read_is_refused(tmp_path: Path, named: bool) -> None:
    """What somebody wrote down for safety must not be silently without effect."""
    tmp_path.chmod(0o777)
    place = tmp_path / "bulkcancel"
    place.mkdir()
    (place / "config.toml").write_text("max_failures = 1\n")
    (place / "config.toml").chmod(0)
    options = ("--config", "bulkcancel/config.toml") if named else ()
    fault = NOBODY + "os.environ['XDG_CONFIG_HOME'] = '/proc/self/cwd'\n"
    fault = fault if IS_ROOT else fault.replace("os.set", "id(os), #")
    done = _dry_run(tmp_path, *options, fault=fault)
    assert done.code == 2
    assert "cannot read the settings file" in done.stderr
    assert "config.toml: Permission denied" in done.stderr


@pytest.mark.parametrize(
    "option", ["", "-o", "--summary", "--log-file", "--token-file", "--config"]
)
@pytest.mark.parametrize("name", ["home/x.csv", "x" * 300 + ".csv"])
def test_a_file_that_cannot_be_looked_at_is_a_mistake(
    tmp_path: Path, closed: Path, option: str, name: str
) -> None:
    """In a closed directory, or with a whole list for a name: exit 2, no fault of bulkcancel."""
    arguments = [option, name] if option else [name]
    fault = NOBODY if IS_ROOT else ""
    for more in ((), ("--dry-run",)):
        write_ids(tmp_path / "ids.txt", IDS)
        done = bulkcancel(
            "run", "ids.txt", *arguments, "--instance", "acme", *more, cwd=tmp_path, fault=fault,
            env=environment(HOME="/"),
        )  # fmt: skip
        assert done.code == 2, done.stderr
        assert "please report" not in done.stderr


BUG = "import {module} as place\ndef broken(*_, **__):\n    raise KeyError('{token}')\n"
BUG += "place.{name} = broken\n"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("bulkcancel.cli.commands.run", "refuse_shared_files"),
        ("bulkcancel.cli.commands.run", "open_inputs"),
        ("bulkcancel.cli.server", "read_token"),
        ("bulkcancel.cli.commands.run", "summary_of"),
        ("bulkcancel.cli.commands.run", "Display"),
        ("bulkcancel.cli.app", "app"),
        ("bulkcancel.cli.app", "hold_standard_descriptors"),
    ],
)
@pytest.mark.parametrize("form", ["json", "console"])
def test_a_fault_of_its_own_is_one_line(tmp_path: Path, module: str, name: str, form: str) -> None:
    """Exit 4, never 1: its kind and place, what to do, and no value that it met."""
    write_ids(tmp_path / "ids.txt", IDS)
    fault = BUG.format(module=module, name=name, token=CANARY)
    options = ("--base-url", "http://127.0.0.1:9", "--attempts", "1", "--quiet")
    done = bulkcancel("run", "ids.txt", *options, "--log-format", form, cwd=tmp_path, fault=fault)
    assert done.code == 4
    line = done.stderr.splitlines()[-1]
    if line.startswith("{"):
        assert form == "json"
        (failed,) = done.events("run.failed")
        assert failed["exit_code"] == 4
        line = str(failed["error"])
    assert line.startswith("bulkcancel itself failed (KeyError at <string>:")
    assert "): please report this line: <string>:" in line
    assert "Traceback" not in done.stderr
    assert CANARY not in done.stderr


@pytest.mark.parametrize("module", ["bulkcancel.cli.app", "rich", "cyclopts", "pydantic", "anyio"])
def test_a_module_that_cannot_be_loaded(tmp_path: Path, module: str) -> None:
    """An installation broken in half is named, at whatever moment it shows."""
    write_ids(tmp_path / "ids.txt", IDS)
    fault = f"import sys\nsys.modules[{module!r}] = None"
    done = bulkcancel("run", "ids.txt", "--sandbox", cwd=tmp_path, fault=fault, cold=True)
    assert done.code == 4
    assert done.stderr.startswith(f"bulkcancel itself failed (ModuleNotFoundError, {module}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", ["--version", "run --help", "sandbox --help", "stuck.csv"])
@pytest.mark.parametrize("streams", [">/dev/full", "2>/dev/full", ">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_take_nothing(tmp_path: Path, arguments: str, streams: str) -> None:
    """Neither a traceback nor exit code 1 nor Python's own 120."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    line = f"{' '.join(command(*arguments.split()))} {streams}"
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode in {0, 2, 4}
    assert (done.returncode == 4) == (streams == ">/dev/full" and arguments != "stuck.csv")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    ("options", "variables", "event"),
    [
        ((), {}, True),
        (("--log-format", "json"), {}, True),
        ((), {"BULKCANCEL_LOG_FORMAT": "json"}, True),
        (("--quiet",), {}, True),
        (("--log-format", "console"), {"BULKCANCEL_LOG_FORMAT": "json"}, False),
    ],
)
def test_where_logs_are_json_so_is_what_ends_the_command(
    tmp_path: Path, options: tuple[str, ...], variables: dict[str, str], event: bool
) -> None:
    """One line: an event with the sentence and the exit code, or the sentence alone."""
    env = environment(**variables)
    done = bulkcancel("run", "none.txt", "--sandbox", *options, cwd=tmp_path, env=env)
    assert done.code == 2
    assert done.stderr.count("\n") == 1
    said = "cannot read none.txt: No such file or directory"
    if event:
        told = json.loads(done.stderr)
        assert (told["event"], told["level"]) == ("run.refused", "error")
        assert (told["error"], told["exit_code"]) == (said, 2)
    else:
        assert done.stderr == f"bulkcancel: {said}\n"


def test_the_log_file_holds_it_too(tmp_path: Path) -> None:
    """Also where the screen shows words."""
    options = ("--sandbox", "--log-format", "console", "--log-file", "run.log")
    done = bulkcancel("run", "none.txt", *options, cwd=tmp_path)
    assert done.stderr == "bulkcancel: cannot read none.txt: No such file or directory\n"
    (line,) = (tmp_path / "run.log").read_text().splitlines()
    assert json.loads(line)["event"] == "run.refused"
    assert json.loads(line)["exit_code"] == 2


COLLECTS = """
import atexit, gc, pathlib
atexit.register(lambda: pathlib.Path("collects").write_text(str(gc.isenabled())))
"""


def test_garbage_is_collected_once_all_is_loaded(tmp_path: Path) -> None:
    """What loads faster without must not run for hours without."""
    write_ids(tmp_path / "ids.txt", IDS)
    done = bulkcancel("run", "ids.txt", "--sandbox", cwd=tmp_path, fault=COLLECTS)
    assert done.code == 0, done.stderr
    assert (tmp_path / "collects").read_text() == "True"
