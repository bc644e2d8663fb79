"""What helps to type a command: examples in the help, the version, completion by the shell."""

from __future__ import annotations

import shlex
import shutil
import stat
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from bulkcancel.cli.app import app, run_cli
from bulkcancel.cli.commands import completion
from bulkcancel.version import VERSION
from tests.support.runs import make_ids

if sys.platform != "win32":
    import resource

COMMANDS = ("run", "find", "verify", "sandbox")
SCRIPTS = {
    "bash": ".local/share/bash-completion/completions/bulkcancel",
    "zsh": ".zsh/completions/_cyclopts_bulkcancel",
    "fish": ".config/fish/completions/bulkcancel.fish",
}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("BULKCANCEL_LOG_FORMAT", "console")
    monkeypatch.setenv("DOMO_DEVELOPER_TOKEN", "t")
    for name in ("ZSH", "ZSH_CUSTOM", "XDG_CONFIG_HOME", "DOMO_INSTANCE"):
        monkeypatch.delenv(name, raising=False)


def _examples(command: str, capfd: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The command lines at the end of a command's help, each up to a redirection."""
    assert run_cli([*command.split(), "--help"]) == 0
    _, _, text = capfd.readouterr().out.partition("Examples:\n")
    lines = [part for line in text.splitlines() for part in line.split(" | ")]
    return [shlex.split(line.partition(" > ")[0]) for line in lines]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_the_examples_of_a_command_are_command_lines(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Help ends in a few of them; each is read without a mistake, as one line at 80 columns."""
    examples = _examples(command, capfd)
    assert len(examples) >= 3
    for program, *arguments in examples:
        assert program == "bulkcancel"
        app.parse_args(arguments, exit_on_error=False, print_error=False)
    if command:
        assert sum(command in arguments for arguments in examples) >= 2


def test_the_examples_of_run_do_what_they_say(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """They are tried with `--dry-run`, on an export with the columns that they name."""
    id_, *_ = make_ids(1)
    for name in ("stuck.csv", "runs.csv"):
        (tmp_path / name).write_text(f"instanceId,status\n{id_},IN_PROGRESS\n")
    for _, *arguments in _examples("run", capfd):
        ours = [word.replace("15000", "1") for word in arguments if word != "--dry-run"]
        assert run_cli([*ours, "--dry-run"]) == 0, arguments
        assert "to cancel 1 " in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize("command", ["", "run", "sandbox", "--install-completion"])
def test_short_flags_for_help_and_version(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    """`-V` and `-h` are what their long forms are, for each command."""
    assert run_cli([*command.split(), "-V"]) == 0
    assert capfd.readouterr().out == f"{VERSION}\n"
    assert run_cli([*command.split(), "-h"]) == 0
    assert capfd.readouterr().out.startswith(f"Usage: bulkcancel {command}".rstrip())


_bash = cache(lambda: completion.completion_script("bash"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("r", "run"),
        ("--inst", "--install-completion"),
        ("run --rat", "--rate"),
        ("run x --log-format j", "json"),
        ("find --older", "--older-than"),
        ("sandbox --settl", "--settle"),
        ("run stuck", ""),
        ("run --output stuck", ""),
    ],
)
def test_bash_completes_commands_options_and_choices(words: str, completed: str) -> None:
    """Where there is no word to offer bash does what it does by default: names of files."""
    typed = ["bulkcancel", *words.split()]
    asked = f"COMP_WORDS=({shlex.join(typed)}); COMP_CWORD={len(typed) - 1}; _bulkcancel"
    script = f'{_bash()}\n{asked}; printf "%s\\n" "${{COMPREPLY[@]}}"; complete -p bulkcancel'
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.split("\n")[0] == completed
    assert "complete -o default -F _bulkcancel bulkcancel" in said.stdout


def test_zsh_is_told_which_values_are_names_of_files() -> None:
    """Unlike the others it offers none by itself."""
    script = completion.completion_script("zsh")
    assert "[Results file, .csv or .jsonl; - for standard output.]:output:_files" in script
    assert "'*:Files of instance IDs" in script
    assert "one ID a line; or an ID, or an e…:_files'" in script


@pytest.mark.parametrize("shell", SCRIPTS)
def test_completion_is_installed_once(
    shell: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The script goes where the shell looks, one line loads it; a second time changes nothing."""
    monkeypatch.setattr(completion, "completion_script", lambda known: f"the script of {known}")
    rc = tmp_path / f".{shell}rc"
    rc.write_text("# mine\n")
    assert run_cli(["--install-completion", shell]) == 0
    said, text = capfd.readouterr().out, rc.read_text()
    script = tmp_path / SCRIPTS[shell]
    assert str(script) in said
    assert (str(rc) in said) is (shell != "fish")
    assert script.read_text() == f"the script of {shell}"
    assert "# mine\n" in text
    assert run_cli(["--install-completion", shell]) == 0
    assert rc.read_text() == text
    assert str(rc) not in capfd.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="limits of the system")
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_full_disk_leaves_the_users_file_as_it_was(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is a shell's whole start: a piece of it would be worse than no completion."""
    monkeypatch.setattr(completion, "completion_script", lambda known: f"the script of {known}")
    rc = tmp_path / f".{shell}rc"
    rc.write_bytes(b"# mine \xe9\n" * 1000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        code = run_cli(["--install-completion", shell])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2
    assert "cannot write to" in capfd.readouterr().err
    assert rc.read_bytes() == b"# mine \xe9\n" * 1000


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_users_file_may_be_in_any_encoding_and_keeps_its_mode(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands there is kept byte by byte; a home's name is quoted."""
    monkeypatch.setattr(completion, "completion_script", lambda known: f"the script of {known}")
    home = tmp_path / "it's $HOME"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    rc = home / f".{shell}rc"
    rc.write_bytes(b"\xff\xfe\x80 mine\r\nx")
    rc.chmod(0o640)
    assert run_cli(["--install-completion", shell]) == 0
    assert b"\xff\xfe\x80 mine\r\nx" in rc.read_bytes()
    assert shlex.quote(str(home)).removesuffix("'").encode() in rc.read_bytes()
    assert sys.platform == "win32" or stat.S_IMODE(rc.stat().st_mode) == 0o640


@pytest.mark.parametrize("home", ["", "relative"])
def test_without_a_home_nothing_is_written(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Least of all into the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "home", lambda: Path(home))
    assert run_cli(["--install-completion", "bash"]) == 2
    assert "there is no home directory to write to: set HOME" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tcsh"], "nothing is known of a shell 'tcsh': name bash, zsh or fish, as in bulkcancel "),
        ([], "no shell is named, and which one this is cannot be told: name bash, zsh or fish"),
        (["bash"], "cannot write to "),
    ],
)
def test_what_cannot_be_installed_is_told(
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Another shell, none that can be found out, a home that cannot be written to."""
    (tmp_path / ".local").touch()
    for name in ("BASH_VERSION", "ZSH_VERSION", "FISH_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    monkeypatch.setattr("os.getppid", lambda: 0)
    assert run_cli(["--install-completion", *arguments]) == 2
    assert said in capfd.readouterr().err
