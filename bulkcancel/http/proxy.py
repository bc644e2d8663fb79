"""Which proxy leads to the server: the one given, or the environment's, as curl reads it."""

from __future__ import annotations

import ipaddress
import os
from typing import NamedTuple

from yarl import URL

from bulkcancel.errors import UsageError

DIRECT = "none"
"""Stands for no proxy, whatever the environment says."""
_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_CURLS_PORT = 1080


class Proxy(NamedTuple):
    """An HTTP proxy that is asked to CONNECT; its text is its address without the login."""

    url: URL
    """With the login."""

    def __str__(self) -> str:
        return f"{self.url.scheme}://{self.url.host_subcomponent}:{self.url.port}"

    def __repr__(self) -> str:
        return f"Proxy({str(self)!r})"  # tracebacks and debuggers show it

    @property
    def has_login(self) -> bool:
        """Whether there is a login for it."""
        return self.url.user is not None


def proxy_of(given: str | None, base_url: str) -> Proxy | None:
    """Return the proxy that leads to a checked base URL, `None` if the way is direct.

    That is the one `given`, unless it is `DIRECT`; without one, that of `HTTPS_PROXY`, else of
    `ALL_PROXY`, where `NO_PROXY` does not name the host: in small letters first, as curl does.
    Plain http, which stays on this machine, has none. Raises `UsageError` for what is no HTTP
    proxy; nothing of it is repeated, as it may hold a password.
    """
    server = URL(base_url)
    if server.scheme != "https" or (given is not None and given.lower() == DIRECT):
        return None
    if given is not None:
        return _parsed(given, "the proxy")
    name = next((name for name in _VARIABLES if os.environ.get(name)), None)
    if name is None or _is_exempt((server.raw_host or "").rstrip(".")):
        return None
    return _parsed(os.environ[name], f"the proxy in {name}")


def _is_exempt(host: str) -> bool:
    """Return whether `NO_PROXY` names a host: a name, a domain, an address, a network, `*`."""
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = listed.lower().replace(",", " ").split()
    if names == ["*"]:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return any(f".{host}".endswith(f".{name.strip('.')}") for name in names)
    return any(_holds(name.strip("[]"), address) for name in names)


def _holds(name: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False


def _parsed(text: str, called: str) -> Proxy:
    scheme, separator, _ = text.lower().partition("://")
    if separator and scheme.startswith("socks"):
        raise UsageError(
            f"{called} speaks SOCKS, which bulkcancel does not: name one that speaks HTTP, as "
            f"http://host:port, or {DIRECT}"
        )
    try:
        url = URL(text if separator else f"http://{text}")
        login = f"{url.user or ''}{url.password or ''}"
        login.encode("latin-1")
        right = url.scheme in {"http", "https"} and url.host and ":" not in (url.user or "")
    except ValueError:
        right = False
    if not right or any(c <= " " for c in text):
        raise UsageError(
            f"{called} is not what a proxy's address looks like: http://[user:password@]host:port, "
            "with %40 for an @ and so on in user and password"
        )
    if url.explicit_port is None and url.scheme == "http":
        url = url.with_port(_CURLS_PORT)
    return Proxy(url.with_path("").with_query(None).with_fragment(None))


def refusal(proxy: Proxy, status: int) -> tuple[str, str]:
    """Return what it means that a proxy answers a CONNECT with a status, and what to do."""
    said = f"the proxy {proxy} lets no connection through (HTTP {status})"
    if status in {401, 407} and proxy.has_login:  # tinyproxy says 401 to a wrong one
        return said, "it does not take the login in its address"
    if status == 407:
        return said, "it wants a login: put it in its address, http://user:password@host:port"
    if status == 403:
        return said, "it does not allow this host or this port"
    return said, "check the proxy, and that it can reach the host"
