"""`bulkcancel --install-completion`: options, commands and file names completed by the shell."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, get_args

import cyclopts
from cyclopts import Parameter
from cyclopts.completion import ShellDetectionError, detect_shell
from cyclopts.completion.install import add_to_rc_file, get_default_completion_path

from bulkcancel.cli.app import app as program
from bulkcancel.cli.process import SIGNALS
from bulkcancel.errors import UsageError

Shell = Literal["bash", "zsh", "fish"]

app = cyclopts.App(
    name="--install-completion",
    help="Have your shell complete commands, options and file names.",
    help_epilogue="It writes a script into your home directory and, for bash and zsh, a line "
    "that loads it into .bashrc or .zshrc; doing it again brings the script up to date.",
    version_flags=["--version", "-V"],
    result_action="return_value",
)

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
    try:
        path = get_default_completion_path(known, "bulkcancel")
        path.write_text(completion_script(known), "utf-8")
        added = known != "fish" and add_to_rc_file(path, "bulkcancel", known)
    except OSError as error:
        where = error.filename or Path.home()
        raise UsageError(f"cannot write to {where}: {error.strerror or error}") from None
    print(f"wrote {path}")  # noqa: T201 - what was done in the user's home
    if added:
        print(f"added a line to {Path.home() / f'.{known}rc'}")  # noqa: T201
    print(f"open a new terminal, or type: exec {known}")  # noqa: T201
    return 0


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
