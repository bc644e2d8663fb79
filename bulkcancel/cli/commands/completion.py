"""`bulkcancel --install-completion`: options, commands and file names completed by the shell."""

from __future__ import annotations

import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, get_args

import cyclopts
from cyclopts import Parameter
from cyclopts.completion import ShellDetectionError, detect_shell
from cyclopts.completion.install import get_default_completion_path

from bulkcancel.cli.app import app as program
from bulkcancel.cli.process import SIGNALS
from bulkcancel.errors import UsageError
from bulkcancel.results import write_whole

Shell = Literal["bash", "zsh", "fish"]

app = cyclopts.App(
    name="--install-completion",
    help="Have your shell complete commands, options and file names.",
    help_epilogue="It writes a script into your home directory and, for bash and zsh, a line "
    "that loads it into .bashrc or .zshrc; doing it again brings the script up to date.",
    version_flags=["--version", "-V"],
    result_action="return_value",
)

_OWN_PLACE = {"bash": ".local", "zsh": ".zsh"}
_SCRIPTS = {
    # Names of files are left to bash itself: it knows directories and spaces.
    "bash": (
        ('COMPREPLY=( $(compgen -f -- "${cur}") )', "COMPREPLY=()"),
        ("\ncomplete -F ", "\ncomplete -o default -F "),
    ),
}


@app.default
def install_completion(
    shell: Annotated[
        str | None,
        Parameter(help="Which shell: bash, zsh or fish. Default: the one this is typed in."),
    ] = None,
    /,
) -> int:
    """Have the shell complete commands, options and file names."""
    SIGNALS.loaded()
    known = _known(shell)
    home = _home()
    try:
        path = get_default_completion_path(known, "bulkcancel")
        path.write_text(completion_script(known), "utf-8")
        added = _loads_it(known, path, home)
    except OSError as error:
        where = error.filename or home
        raise UsageError(f"cannot write to {where}: {error.strerror or error}") from None
    print(f"wrote {path}")  # noqa: T201 - what was done in the user's home
    if added:
        print(f"added a line to {home / f'.{known}rc'}")  # noqa: T201
    print(f"open a new terminal, or type: exec {known}")  # noqa: T201
    return 0


def _home() -> Path:
    try:
        home = Path.home()
    except RuntimeError:  # a user without an entry, and without HOME
        home = Path()
    if not home.is_absolute():
        raise UsageError("there is no home directory to write to: set HOME")
    return home


def _loads_it(shell: Shell, script: Path, home: Path) -> bool:
    """Have the shell load the script when it starts; return whether a line was needed for that.

    The user's file is replaced whole or left alone, as on a full disk; its bytes may be in any
    encoding. Raises `OSError`.
    """
    if shell == "fish" or not script.is_relative_to(home / _OWN_PLACE[shell]):
        return False  # fish, and frameworks such as Oh My Zsh, look there by themselves
    rc = Path(os.path.realpath(home / f".{shell}rc"))
    try:
        before, mode = rc.read_bytes(), stat.S_IMODE(rc.stat().st_mode)
    except FileNotFoundError:
        before, mode = b"", 0o644
    wanted = script.parent if shell == "zsh" else script
    if os.fsencode(wanted) in before:
        return False
    quoted = shlex.quote(str(wanted))
    line = f"fpath=({quoted} $fpath)" if shell == "zsh" else f"[ -f {quoted} ] && . {quoted}"
    lines = os.fsencode(f"# Completion of bulkcancel\n{line}\n")
    if shell == "zsh":  # before whatever sets completion up
        after = lines + before
    else:
        after = before + (b"\n" if before and not before.endswith(b"\n") else b"") + lines
    write_whole(str(rc), after, mode=mode)
    return True


def completion_script(shell: Shell) -> str:
    """Return the script that the shell loads: it needs no Python when a key is pressed."""
    script = program.generate_completion(prog_name="bulkcancel", shell=shell)
    for written, wanted in _SCRIPTS.get(shell, ()):
        script = script.replace(written, wanted)
    return script


def _known(named: str | None) -> Shell:
    """Return the shell that is named, else the one this process was started from."""
    shell = named
    if named is None:
        with suppress(ShellDetectionError):
            shell = detect_shell()
    for known in get_args(Shell):
        if shell == known:
            return known  # type: ignore[no-any-return]
    what = (
        "no shell is named, and which one this is cannot be told"
        if named is None
        else (f"nothing is known of a shell {named!r}")
    )
    raise UsageError(f"{what}: name bash, zsh or fish, as in bulkcancel --install-completion bash")
