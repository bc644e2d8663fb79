"""Settings from the environment and from a settings file, under those given as flags.

A name that no option has is refused, wherever it stands.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Token

from bulkcancel.errors import UsageError
from bulkcancel.text import did_you_mean, visible

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from cyclopts import App, ArgumentCollection
    from cyclopts.argument import Argument

PREFIX = "BULKCANCEL_"
_COMMA_LISTS = frozenset({"ok", "again"})
_LISTS = _COMMA_LISTS | {"where"}
_INSTANCE = "DOMO_INSTANCE"
ALONE = ("--help", "--version")
_RIVALS = (
    frozenset({"instance", "base_url", "sandbox"}),
    frozenset({"resume", "overwrite"}),
)
"""Options that exclude each other: one that is given hides the others in lower sources."""


def from_environment_and_file(
    _app: App,
    _commands: tuple[str, ...],
    arguments: ArgumentCollection,
    *,
    fields: Collection[str],
    known: Collection[str],
) -> None:
    """Fill the options that no flag gave: from the environment, then from the file.

    A name that no option has is refused (`UsageError`): a misspelt safety setting must not be
    silently without effect. Only `fields` are filled: an option that is not `run`'s as well is a
    flag alone, and of the `known` names those that are `run`'s alone (where its results go, say)
    mean nothing to other commands. The file is the one named, or the user's own; never one that
    lies in the current directory.
    """
    by_name = {name: a for a in arguments if (name := _name(a)) in fields}
    taken = _taken(by_name)
    for variable, text in sorted(os.environ.items()):
        if variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX).lower()
            argument = _known(name, by_name, known, f"the environment variable {variable}")
            if not text.strip():
                raise UsageError(f"{variable} is empty: give it a value, or unset it")
            values = text.splitlines() if name == "where" else [text]
            if argument is not None and name not in taken:
                _fill(argument, values, keyword=variable, source="env")
    file = _read_file(by_name["config"])
    # DOMO_INSTANCE is set in many shells: it must not make a settings file's rehearsal a real run.
    elsewhere = any(file.get(key) for key in ("sandbox", "base_url", "base-url"))
    if _INSTANCE in os.environ and not elsewhere and "instance" not in _taken(by_name):
        _fill(by_name["instance"], [os.environ[_INSTANCE]], keyword=_INSTANCE, source="env")
    taken = _taken(by_name)
    for key, value in file.items():
        name = key.replace("-", "_")
        argument = _known(name, by_name, known, f"the settings file's key {key!r}")
        if isinstance(value, list) and name not in _LISTS:
            raise UsageError(f"the settings file's {visible(key)} takes one value, not a list")
        values = [_text(v) for v in (value if isinstance(value, list) else [value])]
        if name in _COMMA_LISTS:
            values = [",".join(values)] if values else []
        if argument is not None and name not in taken:
            _fill(argument, values, keyword=key, source="file")


def refuse_options(inputs: Iterable[str], settings: Iterable[str]) -> None:
    """Raise `UsageError` if an input is an option that does not exist: `-x` may be a file."""
    for word in inputs:
        if word.startswith("-") and word != "-":
            known = [f"--{name.replace('_', '-')}" for name in settings]
            hint = "see bulkcancel run --help (a file of that name: put ./ before it)"
            raise UsageError(unknown_option(word, known, hint))


def unknown_option(word: str, known: Iterable[str], help_of: str) -> str:
    """Return what to say of an option that does not exist, without its value."""
    name = word.partition("=")[0] if word.startswith("--") else word[:2]
    return f"unknown option {name}: {did_you_mean(name, [*known, *ALONE]) or help_of}"


def settings_variables() -> list[str]:
    """Return the environment variables that hold settings: a command line does not show them."""
    return [name for name in os.environ if name.startswith(PREFIX)]


def _taken(by_name: Mapping[str, Argument]) -> frozenset[str]:
    """Return the options that no lower source may still fill."""
    given = frozenset(name for name, argument in by_name.items() if argument.tokens)
    telling = {name for name in given if not _is_false(by_name[name])}
    return given.union(*(rivals for rivals in _RIVALS if telling & rivals))


def _is_false(argument: Argument) -> bool:
    """Return whether an option says no more than `sandbox = false`."""
    return argument.tokens[-1].value.lower() in {"false", "no", "0"}


def _name(argument: Argument) -> str:
    return argument.name.removeprefix("--").replace("-", "_")


def _known(
    name: str, by_name: Mapping[str, Argument], known: Collection[str], what: str
) -> Argument | None:
    """Return the option of that name, `None` if it is another command's; refuse all else."""
    argument = by_name.get(name)
    if argument is None and name not in known:
        hint = did_you_mean(name, known) or "see bulkcancel run --help"
        raise UsageError(f"{visible(what)} is no setting of bulkcancel: {hint}")
    return argument


def _fill(argument: Argument, values: Iterable[str], *, keyword: str, source: str) -> None:
    for index, value in enumerate(values):
        argument.append(Token(keyword=keyword, value=value, source=source, index=index))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_file(config: Argument) -> dict[str, object]:
    named = config.tokens[0].value if config.tokens else None
    if named is not None and not named.strip():
        raise UsageError("--config is empty (is a variable empty?): name a file, or leave it out")
    path = Path(named) if named else _users_own()
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the settings file {path} is not valid TOML: {error}") from None


def _users_own() -> Path | None:
    """Return the user's own settings file if there is one (XDG Base Directory Specification).

    A home that cannot be read (some services have one) or does not exist holds none.
    """
    try:
        root = Path(os.environ.get("XDG_CONFIG_HOME", ""))
        if not root.is_absolute():
            root = Path.home() / ".config"
        path = root / "bulkcancel" / "config.toml"
        # A home that is not absolute would mean one in the current directory.
        return path if path.is_absolute() and path.exists() else None
    except (OSError, RuntimeError):
        return None
