"""Which server is meant: an instance name or an address, checked before the token goes there."""

from __future__ import annotations

import ipaddress
import re

from yarl import URL

from bulkcancel.errors import UsageError
from bulkcancel.ids import DOMAIN
from bulkcancel.text import visible

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
SANDBOX = "sandbox"
"""What the results' `host` column holds for the embedded sandbox."""


def base_url_of(instance: str | None, base_url: str | None) -> str:
    """Return `scheme://host[:port][/path]` without a closing slash.

    `acme`, `acme.domo.com` and `https://acme.domo.com/` all mean `https://acme.domo.com`. Host
    names are checked label by label (RFC 1123, section 2.1). Raises `UsageError` when neither or
    both are given, or the one given is not surely what it looks like.
    """
    if base_url:
        if instance:
            raise UsageError("give instance or base_url, not both")
        return _checked_base_url(base_url)
    if not instance:
        raise UsageError(
            "no Domo instance given: pass instance='acme' (for acme.domo.com) or base_url"
        )
    return f"https://{_checked_instance(instance)}{DOMAIN}"


def _checked_instance(text: str) -> str:
    name = text.strip().lower().removeprefix("https://")
    name = name.removesuffix("/").removesuffix(DOMAIN)
    if not name.isascii() or not _LABEL.fullmatch(name):
        raise UsageError(
            f"the instance {visible(text)!r} is not a name such as acme or acme.domo.com"
        )
    return name


def _checked_base_url(text: str) -> str:
    shown = visible(text)
    if not text.isascii() or any(c <= " " or c in "\\#?@" for c in text):
        raise UsageError(
            f"the base URL {shown!r} must be plain: https://host[:port][/path], with no user, "
            "query, fragment or space"
        )
    try:
        url = URL(text)
        port = url.port
    except ValueError as error:
        raise UsageError(f"the base URL {shown!r} cannot be read: {error}") from None
    host = (url.host or "").lower()
    if url.scheme not in {"http", "https"} or not host or port is None:
        raise UsageError(f"the base URL {shown!r} must begin with https:// and name a host")
    if not _is_address(host) and not all(_LABEL.fullmatch(p) for p in host.split(".")):
        raise UsageError(f"{visible(host)!r} in the base URL is not a host name")
    if url.scheme == "http" and not _is_loopback(host):
        raise UsageError(
            f"the base URL {shown!r} would send the token in clear: use https "
            "(http is for loopback only)"
        )
    base_url = str(url).rstrip("/")
    if host_of(base_url) == SANDBOX:
        raise UsageError(
            f"the results of {shown!r} could not be told from those of the sandbox: give the host "
            "name in full"
        )
    return base_url


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def host_of(base_url: str) -> str:
    """Return `host[:port][/path]` of a checked base URL: what the results' `host` column holds.

    The port is there where it is not the scheme's own, an IPv6 address in brackets: two servers
    behind one name, such as two tunnels on loopback, are not one host.
    """
    url = URL(base_url)
    host = (url.host or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = "" if url.is_default_port() else f":{url.port}"
    return f"{host}{port}{url.raw_path.rstrip('/')}"
