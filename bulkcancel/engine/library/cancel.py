"""What Python callers call: results as they finish, or all of them in a list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING

from bulkcancel.domo import DomoClient
from bulkcancel.engine.engine import (
    DEFAULT_ATTEMPTS,
    DEFAULT_CONCURRENCY,
    DEFAULT_GRACE_S,
    DEFAULT_RATE_PER_S,
    Policy,
)
from bulkcancel.engine.library.job import Job
from bulkcancel.engine.limits import DEFAULT_MAX_OUTAGE_S, Limits
from bulkcancel.engine.verification import DEFAULT_VERIFY_TIMEOUT_S, Verification
from bulkcancel.errors import (
    BulkcancelError,
    CancelInterrupted,
    InterruptedRunError,
    UsageError,
)
from bulkcancel.quantities import checked_outcomes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Iterable

    from bulkcancel.engine.library.progress import Progress
    from bulkcancel.engine.library.saving import Into
    from bulkcancel.models import CancelResult, Outcome


def cancel_many(
    ids: Iterable[str] | AsyncIterable[str],
    *,
    client: DomoClient,
    rate_per_s: float | None = DEFAULT_RATE_PER_S,
    burst: int = 1,
    concurrency: int = DEFAULT_CONCURRENCY,
    attempts: int = DEFAULT_ATTEMPTS,
    max_failures: int | None = None,
    max_failure_share: float | None = None,
    max_outage_s: float = DEFAULT_MAX_OUTAGE_S,
    deadline_s: float | None = None,
    grace_s: float = DEFAULT_GRACE_S,
    ok: Collection[Outcome] = (),
    verify: bool = False,
    verify_timeout_s: float = DEFAULT_VERIFY_TIMEOUT_S,
    into: Into | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> AsyncGenerator[CancelResult, None]:
    """Cancel every instance of `ids` and yield one result for each distinct ID as it finishes.

    `rate_per_s` is a ceiling in requests a second, retries included; `None` searches for what
    the server allows. What is no instance ID yields an `invalid` result and is never sent. With
    `verify` an accepted ID is yielded once it was seen to stop, or not for `verify_timeout_s`.
    With `into`, as in `ResultsPath("results.csv", resume=True)`, each result has its row there
    before it is yielded, and what has one from earlier is left out.

    A request goes only while a result is waited for. Left with `break`, the work ends as the
    generator is closed; one that is kept in a name lets the requests in flight finish, at most
    `concurrency`, and sends nothing more. `contextlib.aclosing` ends it at once.

    Raises `UsageError` for arguments that make no sense and a client that is not open;
    `TokenRefusedError` when the server refuses the token or forbids the first 25; `StoppedError`
    when it cannot be reached or is not Domo's, `LimitError` where one of the limits above says so;
    `OutputError`, `BusyError` and `ResultsError` for what is wrong with `into`; and whatever `ids`
    and `on_progress` raise. Results that came before are yielded first.
    """
    policy = _policy(
        ids=ids,
        rate_per_s=rate_per_s,
        burst=burst,
        concurrency=concurrency,
        attempts=attempts,
        limits=Limits(max_outage_s, deadline_s, max_failures, max_failure_share),
        grace_s=grace_s,
        ok=ok,
        verify_timeout_s=verify_timeout_s if verify else None,
    )
    return Job(ids, client, policy, into=into, on_progress=on_progress).results()


def cancel_all(
    ids: Iterable[str],
    *,
    token: str,
    instance: str | None = None,
    base_url: str | None = None,
    timeout_s: float = 30.0,
    proxy: str | None = None,
    ca_file: str | None = None,
    rate_per_s: float | None = DEFAULT_RATE_PER_S,
    burst: int = 1,
    concurrency: int = DEFAULT_CONCURRENCY,
    attempts: int = DEFAULT_ATTEMPTS,
    max_failures: int | None = None,
    max_failure_share: float | None = None,
    max_outage_s: float = DEFAULT_MAX_OUTAGE_S,
    deadline_s: float | None = None,
    grace_s: float = DEFAULT_GRACE_S,
    ok: Collection[Outcome] = (),
    verify: bool = False,
    verify_timeout_s: float = DEFAULT_VERIFY_TIMEOUT_S,
    into: Into | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[CancelResult]:
    """Cancel every instance of `ids` and return their results, as `cancel_many` without `async`.

    For scripts and for tasks of a scheduler. `ids` is read whole before anything is sent. The way
    to the server is told as to `DomoClient`, the rest as to `cancel_many`. Raises what those raise,
    with `results` of what had come by then; `CancelInterrupted`, a `KeyboardInterrupt`, on Ctrl-C,
    once the requests in flight have ended, within `grace_s` (a second one ends it at once), `from`
    what went wrong meanwhile, such as rows that could not be written; and `UsageError`
    in a thread whose event loop runs, as a notebook's does.
    """
    if _loop_is_running():
        raise UsageError(
            "cancel_all cannot wait where an event loop runs, as in a notebook: use "
            "`async for result in cancel_many(...)` there"
        )
    if isinstance(ids, AsyncIterable):
        raise UsageError("cancel_all takes no async iterable of ids: use cancel_many")
    policy = _policy(
        ids=ids,
        rate_per_s=rate_per_s,
        burst=burst,
        concurrency=concurrency,
        attempts=attempts,
        limits=Limits(max_outage_s, deadline_s, max_failures, max_failure_share),
        grace_s=grace_s,
        ok=ok,
        verify_timeout_s=verify_timeout_s if verify else None,
    )
    client = DomoClient(
        instance, token=token, base_url=base_url, timeout_s=timeout_s, proxy=proxy, ca_file=ca_file
    )
    del token  # error reporters print what a frame holds
    results: list[CancelResult] = []
    job = Job(list(ids), client, policy, into=into, on_progress=on_progress)
    faults: list[BaseException] = []
    try:
        asyncio.run(_gather(job, client, results, faults))
    except KeyboardInterrupt:
        raise CancelInterrupted(results) from (faults[0] if faults else None)
    except BulkcancelError as error:
        error.results = results
        raise
    return results


async def _gather(
    job: Job, client: DomoClient, results: list[CancelResult], faults: list[BaseException]
) -> None:
    """Fill `results`; when cancelled, as by Ctrl-C, first let end what is in flight.

    What goes wrong with that, such as rows that cannot be written, is then in `faults`.
    """

    async def gather() -> None:
        async with client:
            async for result in job.results():
                results.append(result)  # noqa: PERF401 - those before an error count

    work = asyncio.create_task(gather())
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        job.stop.request(InterruptedRunError("SIGINT", 2))
        await asyncio.wait([work])
        error = None if work.cancelled() else work.exception()
        if error is not None and error is not job.stop.reason:
            faults.append(error)
        raise


def _policy(
    *,
    ids: object,
    rate_per_s: float | None,
    burst: int,
    concurrency: int,
    attempts: int,
    limits: Limits,
    grace_s: float,
    ok: Collection[Outcome],
    verify_timeout_s: float | None,
) -> Policy:
    if isinstance(ids, str):
        raise UsageError("ids must be an iterable of IDs, not one string: pass [instance_id]")
    if verify_timeout_s is not None and not verify_timeout_s > 0:
        raise UsageError(f"verify_timeout_s must be above 0, not {verify_timeout_s}")
    return Policy(
        rate_per_s=rate_per_s,
        burst=burst,
        concurrency=concurrency,
        attempts=attempts,
        grace_s=grace_s,
        limits=limits,
        ok=checked_outcomes(ok, "ok"),
        verification=None if verify_timeout_s is None else Verification(verify_timeout_s),
    )


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
