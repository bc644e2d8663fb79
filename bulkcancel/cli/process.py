"""What a process gets from its system: signals, event loops, descriptors."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from bulkcancel.errors import InterruptedRunError, UsageError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from types import FrameType

if sys.platform != "win32":
    import resource


_PATIENCE_S = 0.8
_NO_RUN_S = 5.0
_ONE_EVENT_S = 0.2
# Descriptors that are not connections: standard streams, results, log, lock, event loop, DNS.
_RESERVED = 24
_HANGUP = getattr(signal, "SIGHUP", None)
"""Windows has none."""


class Signals:
    """Turns signals into a stop of the run.

    While modules are loaded a signal is kept, as the import system swallows exceptions. After
    that, but before a run, there is nothing to drain: a signal raises `InterruptedRunError` in the
    main thread, and again when the run begins if something has swallowed it. During a run the
    first signal asks for a stop, the second cuts off the requests in flight. If the end hangs (a
    disk, a name look-up, a reader of our output that has stopped) the process exits anyway:
    `within_s` seconds after the first signal, five where no run is on, about one second after the
    second. After a run one signal changes nothing else. A SIGHUP and another signal at the same
    time count as one: a terminal that closes sends two, some service managers SIGTERM and SIGHUP.
    `signal.signal` works on every system, with every event loop and as PID 1.
    """

    def __init__(self) -> None:
        self._on_signal: Callable[[InterruptedRunError, bool], None] | None = None
        self._within_s = _NO_RUN_S
        self._loading = True
        self._kept: InterruptedRunError | None = None
        self._seen = 0
        self._last, self._seen_at = 0, float("-inf")

    def install(self) -> None:
        """Take over SIGINT, SIGTERM and, unless it is ignored (`nohup`), SIGHUP.

        Call it in the main thread.
        """
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)
        if _HANGUP is not None and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
            signal.signal(_HANGUP, self._handle)

    def loaded(self) -> None:
        """Let signals raise in the main thread from now on; raise one that was kept."""
        gc.enable()
        self._loading = False
        self._raise_kept()

    def exit_code(self, code: int) -> int:
        """Return the code to exit with instead of `code`: another if a signal was kept."""
        return code if self._kept is None else self._kept.exit_code

    def hand_to(
        self, on_signal: Callable[[InterruptedRunError, bool], None], *, within_s: float
    ) -> None:
        """Call `on_signal(reason, is_second)` from now on; the end may take `within_s` seconds.

        Raises `InterruptedRunError` if there was a signal before that has stopped nothing.
        """
        self._raise_kept()
        self._on_signal = on_signal
        self._within_s = within_s

    def hand_to_loop(
        self,
        loop: AbstractEventLoop,
        request: Callable[[InterruptedRunError, bool], None],
        *,
        within_s: float,
    ) -> None:
        """As `hand_to`, but `request` is called inside the running event loop."""

        def on_signal(reason: InterruptedRunError, second: bool) -> None:  # noqa: FBT001
            with suppress(RuntimeError):  # the loop has just ended, and all with it
                loop.call_soon_threadsafe(request, reason, second)

        self.hand_to(on_signal, within_s=within_s)

    def let_finish(self) -> None:
        """Ignore one signal from now on: the run is over and only its summary is left to show."""
        self._on_signal = lambda _reason, _second: None
        self._within_s = _NO_RUN_S

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        together = _HANGUP in {number, self._last} and now - self._seen_at < _ONE_EVENT_S
        self._last, self._seen_at = number, now
        if together:
            return
        self._seen += 1
        reason = InterruptedRunError(signal.Signals(number).name, number)
        if self._seen > 2:
            os._exit(reason.exit_code)
        patience_s = self._within_s if self._seen == 1 else _PATIENCE_S
        end = threading.Timer(patience_s, os._exit, [reason.exit_code])
        end.daemon = True
        end.start()
        if self._on_signal is not None:
            self._on_signal(reason, self._seen > 1)
            return
        self._kept = reason
        if not self._loading or self._seen > 1:
            raise reason

    def _raise_kept(self) -> None:
        if self._kept is not None:
            raise self._kept


SIGNALS = Signals()
"""Those of this process: the one thing here that is global, because signals are."""


def hold_standard_descriptors() -> None:
    """Open descriptors 0, 1 and 2 to the null device where they are closed.

    Else the results file could get such a number, and messages would be written into it.
    """
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return


def loop_options(name: str) -> dict[str, bool]:
    """Return anyio's options for the event loop called `auto`, `asyncio` or `uvloop`.

    Raises `UsageError` where uvloop is asked for and not installed, as on Windows.
    """
    works = False
    with suppress(ImportError):
        import_module("uvloop")
        works = True
    if name == "uvloop" and not works:
        raise UsageError("--loop uvloop: uvloop is not installed here; use --loop asyncio")
    return {"use_uvloop": works and name != "asyncio"}


def fitting_concurrency(asked: int, *, sockets_each: int = 1) -> int:
    """Return how many requests can be in flight, at most `asked`, given `ulimit -n`.

    The soft limit is raised towards the hard one where that is enough or helps.
    """
    if sys.platform == "win32":
        return asked
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = asked * sockets_each + _RESERVED
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return asked
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):
        raised = soft
    return max(1, min(asked, (raised - _RESERVED) // sockets_each))
