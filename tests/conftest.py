"""What several test modules need, and how tests that measure time are left alone."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

if sys.platform != "win32":
    import fcntl


def pytest_configure() -> None:
    """Make the surroundings those of any machine, for the processes that tests start as well.

    They hear what a shell's `&` or `nohup` has them ignore, and know of no proxy. No example of
    Hypothesis's has to be fast: a busy machine is no fault of the code.
    """
    settings.register_profile("any speed", deadline=None)
    settings.load_profile("any speed")
    for name in ("https_proxy", "http_proxy", "all_proxy", "no_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A loopback port that refuses connections: bound, but not listening."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that run alone come last, so that the others rarely wait for one."""
    items.sort(key=_runs_alone)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for the turn of a test before its timeout begins to count."""
    with _turn(alone=_runs_alone(item)):
        return (yield)


def _runs_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@contextmanager
def _turn(*, alone: bool) -> Iterator[None]:
    """Share this machine with other workers' tests, or have it without them.

    The gate is passed one after another, so that a test that waits to be alone is not overtaken
    for ever. Windows has no such locks: there the tests run one at a time (`-n 0`).
    """
    if sys.platform == "win32":
        yield
        return
    place = Path(tempfile.gettempdir(), f"bulkcancel-tests-{os.getuid()}")
    with place.with_suffix(".gate").open("a") as gate, place.with_suffix(".room").open("a") as room:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
