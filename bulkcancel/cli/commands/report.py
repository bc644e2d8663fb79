"""`bulkcancel report`: what results files say, as text, JSON and a page."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter
from rich.console import Console

from bulkcancel.analysis import analyse, as_page, as_text
from bulkcancel.cli.files import is_stdout, refuse_page_over
from bulkcancel.cli.process import SIGNALS
from bulkcancel.cli.settings_sources import unknown_option
from bulkcancel.errors import InputError, OutputError, UsageError
from bulkcancel.results import write_whole
from bulkcancel.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from bulkcancel.analysis import Figures

app = cyclopts.App(
    name="report",
    help="Tell what results files say: outcomes, models, errors, latency, throughput.",
    help_epilogue="Several files (shards, days) count as one: of each ID its latest row. Nothing "
    "is sent, asked or changed; a run may go on writing meanwhile. Exit codes: 0 the files could "
    "be read, whatever they say; 2 bad usage, or a file that is no results file.\n\n"
    "Examples:\n"
    "  bulkcancel report results.csv\n"
    "  bulkcancel report shard-*.csv --html report.html\n"
    "  bulkcancel report results.csv --json",
    help_format="plaintext",
    version_flags=["--version", "-V"],
    result_action="return_value",
)

_STREAM = "-"
_BINARY = getattr(os, "O_BINARY", 0)


@app.default
def report(
    *results: Annotated[
        str,
        Parameter(
            allow_leading_hyphen=True,
            show_default=False,
            help="Results files of runs, CSV or JSON Lines; - for standard input.",
        ),
    ],
    json_: Annotated[
        bool,
        Parameter(
            "--json",
            negative="",
            show_default=False,
            help="Print the figures as one JSON document.",
        ),
    ] = False,
    html: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True,
            help="Also write a page that can be opened and sent anywhere; - for standard output.",
        ),
    ] = None,
) -> int:
    """Read the files, and tell."""
    SIGNALS.loaded()
    _check(results, html, as_json=json_)
    with ExitStack() as resources:
        figures = analyse(_open(results, resources))
    if html is not None:
        _write(html, as_page(figures))
    if json_:
        _write(_STREAM, f"{json.dumps(figures.as_dict(), indent=2)}\n")
    elif html is None or not is_stdout(html):
        _print(figures, html)
    return 0


def _check(results: Sequence[str], html: str | None, *, as_json: bool) -> None:
    for name in results:
        if name.startswith("-") and name != _STREAM:
            raise UsageError(
                unknown_option(name, ("--json", "--html"), "see bulkcancel report --help")
            )
    if not results or not all(results):
        raise UsageError("no results file is named: bulkcancel report results.csv")
    if len({os.path.realpath(name) for name in results}) < len(results):
        raise UsageError("a results file is named twice: name each once")
    if html is None:
        return
    if not html:
        raise UsageError("--html is empty (is a variable empty?): name a file, or leave it out")
    if as_json and is_stdout(html):
        raise UsageError("--json and --html both on standard output: name a file for the page")
    refuse_page_over(results, html)


def _open(names: Sequence[str], resources: ExitStack) -> dict[str, BinaryIO]:
    """Open the files; what can be read only once is copied where several are read."""
    files: dict[str, BinaryIO] = {}
    file: BinaryIO
    for name in names:
        try:
            descriptor = os.dup(0) if name == _STREAM else os.open(name, os.O_RDONLY | _BINARY)
            file = resources.enter_context(os.fdopen(descriptor, "rb"))
            if len(names) > 1 and not stat.S_ISREG(os.fstat(descriptor).st_mode):
                file = _copy(file, resources)
        except FileNotFoundError:
            raise InputError(f"there is no results file {name}") from None
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or str(error)
            raise InputError(f"cannot read {name}: {said}") from None
        files[name] = file
    return files


def _copy(file: BinaryIO, resources: ExitStack) -> BinaryIO:
    """Return a file of the same content that can be read again; it has no name."""
    whole: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the others
    resources.callback(whole.close)
    shutil.copyfileobj(file, whole)
    whole.seek(0)
    return whole


def _print(figures: Figures, html: str | None) -> None:
    if sys.stdout is None:  # closed, as in `>&-`
        return
    console = Console(highlight=False, emoji=False)
    with _told_if_full(_STREAM), console.capture() as captured:  # that writes an empty text
        console.print(as_text(figures), crop=False)
        if html is not None:
            console.print(visible(f"Page: {html}"), markup=False, soft_wrap=True)
    # A terminal may not know every character: that is no reason to fail.
    _write(_STREAM, captured.get(), sys.stdout.encoding)


def _write(name: str, text: str, encoding: str = "utf-8") -> None:
    with _told_if_full(name):
        write_whole(name, text.encode(encoding, "backslashreplace"))


@contextmanager
def _told_if_full(name: str) -> Iterator[None]:
    """Have what cannot be written told in a sentence; a reader that has gone is no mistake."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        shown = "to standard output" if name == _STREAM else name
        raise OutputError(f"cannot write {shown}: {error.strerror or error}") from None
