"""Servers with certificates of an authority that only the test knows."""

from __future__ import annotations

import gc
import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme


def certified(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """Return what a server for that host name needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def authority_file(authority: trustme.CA, folder: Path, name: str = "authority.pem") -> str:
    """Write the authority's certificate into a file of that name; return its path."""
    path = folder / name
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def trusting(authority: trustme.CA, folder: Path) -> dict[str, str]:
    """Return the environment in which that authority alone is trusted."""
    return {"SSL_CERT_FILE": authority_file(authority, folder)}


@contextmanager
def handshakes_may_fail() -> Iterator[None]:
    """Let asyncio leave to the garbage collector what a failed handshake held, as it may do."""
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
