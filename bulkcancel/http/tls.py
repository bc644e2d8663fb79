"""Whose certificates are trusted, and whose was not."""

from __future__ import annotations

import os
import ssl
import sys
import warnings
from importlib import import_module

from bulkcancel.errors import UsageError
from bulkcancel.text import visible

_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's X509_V_ERR_ codes for a certificate whose issuer nobody here vouches for."""


def _places() -> list[str | None]:
    return [os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")]


_PLACES_AT_IMPORT = None if "aiohttp" in sys.modules else _places()
"""What aiohttp will find when it is imported, after this; unknown where that was done before."""


def tls_context(ca_file: str | None) -> ssl.SSLContext | bool:
    """Return what trusts the system's authorities, or those in `SSL_CERT_FILE`, and in `ca_file`.

    `True` stands for the context that aiohttp made when it was imported, where that is the same:
    reading all authorities once more would take as long as a handshake. Raises `UsageError` for
    a file that holds no certificates.
    """
    if ca_file is None and _places() == _PLACES_AT_IMPORT:
        return True
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ValueError) as error:  # ssl's own is an OSError without a number
            reason = getattr(error, "strerror", None) if type(error) is not ssl.SSLError else None
            raise UsageError(
                f"cannot read certificates from the CA file {visible(ca_file)!r}: "
                f"{reason or 'it must hold them in PEM (-----BEGIN CERTIFICATE-----)'}"
            ) from None
    return context


def is_unknown_issuer(error: BaseException | None) -> bool:
    """Return whether a handshake failed for want of an authority, not for any other reason."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _UNKNOWN_ISSUER


def issuer_of(certificate: bytes) -> str:
    """Return who issued a certificate (DER), in the form of RFC 4514. Raises what x509 raises."""
    x509 = import_module("cryptography.x509")  # large, and needed once all has failed
    with warnings.catch_warnings(action="ignore"):  # of what is odd in somebody's certificate
        return str(x509.load_der_x509_certificate(certificate).issuer.rfc4514_string())
