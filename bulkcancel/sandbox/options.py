"""How a sandbox is asked to behave."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """How the sandbox behaves; raises `ValueError` with the fix for a value that makes no sense."""

    port: int = 8099
    """0: any free one."""
    token: str | None = None
    """The only one accepted; `None`: any that is not empty."""
    latency_s: float = 0.05
    jitter_s: float = 0.02
    """Each answer takes `latency_s` plus or minus up to this, never less than nothing."""
    rate_limit_per_s: float | None = None
    """`None`: no limit. Up to a tenth of a second's worth may come at once."""
    error_rate: float = 0.0
    """Share of requests answered by 500, 502, 503 or 504, half of them after acting."""
    reset_rate: float = 0.0
    """Share of requests whose connection is reset, half of them after acting."""
    settle_s: float = 1.0
    """How long a cancelled run keeps its old status."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be 0 (any free one) to 65535, not {self.port}")
        if self.token is not None and not self.token.strip():
            raise ValueError("the token must not be empty; leave it out to accept any")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise ValueError("the token must be printable ASCII, on one line")
        for name in ("latency_s", "jitter_s", "settle_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(
                    f"the {name.removesuffix('_s')} must be 0 or more seconds, not {value}"
                )
        limit = self.rate_limit_per_s
        if limit is not None and not (math.isfinite(limit) and limit > 0):
            raise ValueError(f"the rate limit must be above 0 requests a second, not {limit}")
        for name in ("error_rate", "reset_rate"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(
                    f"the {name.replace('_', ' ')} must be a share from 0 to 1, not {value}"
                )
        if self.error_rate + self.reset_rate > 1:
            raise ValueError("the error rate and the reset rate must not add up to more than 1")
