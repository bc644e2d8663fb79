"""`bulkcancel sandbox`: serve the stand-in until a signal ends it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio
import cyclopts

from bulkcancel.cli.process import SIGNALS, loop_options
from bulkcancel.errors import InterruptedRunError, UsageError
from bulkcancel.quantities import parse_duration
from bulkcancel.sandbox import RULES, Sandbox, SandboxOptions

app = cyclopts.App(
    name="sandbox",
    help="Serve a local stand-in for Domo's Workflow API, on loopback only.",
    help_format="plaintext",
    help_epilogue=RULES,
    result_action="return_value",
)


_ENDING_S = 2.0


@app.default
def sandbox(
    *,
    port: int = 8099,
    token: str | None = None,
    latency: str = "50ms",
    jitter: str = "20ms",
    rate_limit: float | None = None,
    error_rate: float = 0.0,
    reset_rate: float = 0.0,
    settle: str = "1s",
    seed: int = 0,
) -> int:
    """Serve a local stand-in for Domo's Workflow API, on loopback only.

    Parameters
    ----------
    port:
        Port to listen on; 0 for any free one.
    token:
        The only token accepted; any that is not empty if none is given.
    latency:
        How long an answer takes.
    jitter:
        By how much that varies.
    rate_limit:
        Requests a second beyond which it answers 429 with Retry-After.
    error_rate:
        Share of requests answered with a 5xx, 0 to 1.
    reset_rate:
        Share of requests whose connection is dropped, 0 to 1.
    settle:
        How long a cancelled run still says IN_PROGRESS.
    seed:
        Of the random errors, resets and jitter.
    """
    SIGNALS.loaded()
    try:
        options = SandboxOptions(
            port=port,
            token=token,
            latency_s=parse_duration(latency),
            jitter_s=parse_duration(jitter),
            rate_limit_per_s=rate_limit,
            error_rate=error_rate,
            reset_rate=reset_rate,
            settle_s=parse_duration(settle),
            seed=seed,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    return anyio.run(_serve, options, backend_options=loop_options("auto"))


async def _serve(options: SandboxOptions) -> int:
    loop = asyncio.get_running_loop()
    stopped = anyio.Event()
    code = 0

    def on_signal(reason: InterruptedRunError, _second: bool) -> None:  # noqa: FBT001
        nonlocal code
        code = reason.exit_code
        with suppress(RuntimeError):  # the loop has just ended
            loop.call_soon_threadsafe(stopped.set)

    async with Sandbox(options) as server:
        SIGNALS.hand_to(on_signal, within_s=_ENDING_S)
        print(f"listening on {server.base_url}", flush=True)  # noqa: T201 - its one line of output
        await stopped.wait()
        SIGNALS.let_finish()
    return code
