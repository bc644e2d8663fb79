"""The body of an answer: how much of it is read, and what it unpacks to."""

from __future__ import annotations

import zlib

from bulkcancel.http.faults import UnreadableAnswerError

MAX_BODY_BYTES = 64 * 1024
"""The most that is read of an answer about one instance, on the wire and unpacked."""

_INFLATED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_RAW_DEFLATE = -zlib.MAX_WBITS


def unpacked(body: bytes, encoding: str, most_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return the plain body of an answer in a content encoding that nobody asked for.

    gzip and deflate (RFC 9110, section 8.4.1) are read, with or without zlib's frame, to
    `most_bytes` of plain text. Raises `UnreadableAnswerError` for all else.
    """
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in _INFLATED:
        raise UnreadableAnswerError("an answer in a content encoding that was not asked for")
    plain = _inflate(body, _GZIP_OR_ZLIB, most_bytes)
    if plain is None and encoding == "deflate":
        plain = _inflate(body, _RAW_DEFLATE, most_bytes)
    if plain is None:
        raise UnreadableAnswerError(f"an answer that is not the {encoding} it claims to be")
    if len(plain) > most_bytes:
        raise too_long(most_bytes)
    return plain


def too_long(most_bytes: int) -> UnreadableAnswerError:
    """Return the fault of an answer that is longer than any of the API's."""
    return UnreadableAnswerError(f"an answer of more than {most_bytes // 1024} KiB")


def _inflate(body: bytes, window_bits: int, most_bytes: int) -> bytes | None:
    """Return what `body` unpacks to, one byte more than allowed at most; `None` if it is broken."""
    inflater = zlib.decompressobj(window_bits)
    try:
        plain = inflater.decompress(body, most_bytes + 1)
    except zlib.error:
        return None
    return plain if inflater.eof or len(plain) > most_bytes else None
