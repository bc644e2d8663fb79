"""`bulkcancel sandbox`: serve the stand-in until a signal ends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import anyio
import cyclopts
from cyclopts import Parameter, default_name_transform

from bulkcancel.cli.process import SIGNALS, loop_options
from bulkcancel.reporting import stderr_console
from bulkcancel.sandbox import RULES, Options, Sandbox

if TYPE_CHECKING:
    from bulkcancel.errors import InterruptedRunError

app = cyclopts.App(
    name="sandbox",
    help="Serve a local stand-in for Domo's Workflow API, on loopback only.",
    help_format="plaintext",
    help_epilogue=f"{RULES}\n\n"
    "Examples:\n"
    "  bulkcancel sandbox --port 8080\n"
    "  bulkcancel sandbox --port 8080 --latency 50ms --error-rate 0.05\n"
    "  bulkcancel run stuck.csv --base-url http://127.0.0.1:8080",
    version_flags=["--version", "-V"],
    result_action="return_value",
)


_ENDING_S = 2.0


def _flag(field: str) -> str:
    """Return the flag of an option without the unit that its name in the code ends in."""
    return default_name_transform(field.removesuffix("_s").removesuffix("_per"))


def _shown(default: object) -> object:
    """Return what help says of a default: that a switch is off goes without saying."""
    return None if default is False else default


_FLAGS = Parameter(name="*", name_transform=_flag, negative="", show_default=_shown)


@app.default
def sandbox(
    *,
    options: Annotated[Options, _FLAGS] = Options(),  # noqa: B008 - frozen
) -> int:
    """Serve a local stand-in for Domo's Workflow API, on loopback only."""
    SIGNALS.loaded()
    return anyio.run(_serve, options, backend_options=loop_options("auto"))


async def _serve(options: Options) -> int:
    stopped = anyio.Event()
    code = 0

    def stop(reason: InterruptedRunError, _second: bool) -> None:  # noqa: FBT001
        nonlocal code
        code = reason.exit_code
        stopped.set()

    async with Sandbox(options) as server:
        SIGNALS.hand_to_loop(asyncio.get_running_loop(), stop, within_s=_ENDING_S)
        print(f"listening on {server.base_url}", flush=True)  # noqa: T201 - its one line of output
        token = "the token of --token" if options.token else "any token"
        hint = f"try: bulkcancel run FILE --base-url {server.base_url} ({token})"
        stderr_console().print(hint, markup=False, soft_wrap=True)
        await stopped.wait()
        SIGNALS.let_finish()
    return code
