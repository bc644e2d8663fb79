"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], within_s: float = 10) -> None:
    """Return once `condition` holds; fail if it does not come about."""
    give_up = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up, f"it did not come about within {within_s} s"
        time.sleep(0.005)
