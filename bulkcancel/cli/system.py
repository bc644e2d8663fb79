"""What this machine allows: event loops, file descriptors."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from bulkcancel.errors import UsageError

if sys.platform != "win32":
    import resource

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

_new_uvloop: LoopFactory | None
try:
    import uvloop
except ImportError:  # not on Windows, not on PyPy
    _new_uvloop = None
else:
    _new_uvloop = uvloop.new_event_loop

# Descriptors that are not connections: standard streams, results, log, lock, event loop, DNS.
_RESERVED = 24


def loop_factory(name: str) -> LoopFactory:
    """Return what makes the event loop called `auto`, `asyncio` or `uvloop`."""
    if name == "uvloop" and _new_uvloop is None:
        raise UsageError("--loop uvloop: uvloop is not installed here; use --loop asyncio")
    if name == "asyncio" or _new_uvloop is None:
        return asyncio.new_event_loop
    return _new_uvloop


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
