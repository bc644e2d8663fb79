"""`localhost` as a name that leads to another address when a test says so."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

_REAL = socket.getaddrinfo


class MovingName:
    """What the resolver says of `localhost` in this process; other names are what they are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, address: str = "127.0.0.1") -> None:
        self.address = address
        self.looked_up = 0
        self.slow_s = 0.0
        """How long a look-up takes."""
        monkeypatch.setattr(socket, "getaddrinfo", self._getaddrinfo)

    def _getaddrinfo(self, host: Any, *arguments: Any, **options: Any) -> Any:
        if host != "localhost":
            return _REAL(host, *arguments, **options)
        self.looked_up += 1
        address = self.address
        time.sleep(self.slow_s)
        return _REAL(address, *arguments, **options)
