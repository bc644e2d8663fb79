"""An event loop whose clock jumps: sleeping takes no time, hours pass in milliseconds."""

from __future__ import annotations

import asyncio
import functools
import selectors
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")
P = ParamSpec("P")


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for `timeout` seconds, adds them to `now`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("every task waits and no timer is set: this would hang for ever")
        self.now += max(timeout, 0.0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time, for code that only sleeps and computes (no IO)."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def stall(self, seconds: float) -> None:
        """Let time pass without running anything, as a stopped process sees it."""
        self._jumping.now += seconds


def now() -> float:
    """Return the running loop's time: the clock to pass to the code under test."""
    return asyncio.get_running_loop().time()


def stall(seconds: float) -> None:
    """Stop the running loop's world for `seconds`."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.stall(seconds)


def run(main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run `main(*args)` under anyio on virtual time and return what it returns."""
    return anyio.run(
        main, *args, backend="asyncio", backend_options={"loop_factory": VirtualTimeLoop}
    )


def on_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Let a test that is a coroutine run there."""

    @functools.wraps(test)
    def runs(*args: P.args, **kwargs: P.kwargs) -> None:
        run(functools.partial(test, *args, **kwargs))

    return runs
