"""What a bad server can send: the bytes, and how the connection ends."""

from __future__ import annotations

import enum
import functools
import hashlib
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

MODEL_ID = "a8afdc89-9491-4ee4-b7c3-b9e9b86c0138"
GARBAGE_STATUS_LINE = b"ICY 2000000 what\r\n\r\n"


class End(enum.Enum):
    """What becomes of the connection once the bytes are out."""

    KEEP = "kept alive"
    FIN = "closed"
    RST = "reset"
    SILENCE = "left open, nothing more is ever sent"
    CLOSE_ON_NEXT = "closed, unanswered, when the next request comes"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: wait `delay_s`, send `data`, then `repeat` for ever if there is any, then end."""

    data: bytes = b""
    delay_s: float = 0.0
    drip_s: float | None = None
    """Send one byte at a time, this far apart."""
    repeat: bytes = b""
    end: End = End.KEEP
    end_after_s: float = 0.0
    """How long the connection stays idle before it ends."""


Plan = Callable[[str, int], Answer]
"""What to answer an instance ID (else: a path) that is seen for the n-th time, from 1."""


def http(
    status: int,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    *,
    length: int | None = None,
    delay_s: float = 0.0,
    end: End = End.KEEP,
    end_after_s: float = 0.0,
) -> Answer:
    """Return a response; `length` is what `Content-Length` says, the truth unless given."""
    fields = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body) if length is None else length),
        **(headers or {}),
    }
    head = f"HTTP/1.1 {status} {_phrase(status)}\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in fields.items()
    )
    return Answer(head.encode() + b"\r\n" + body, delay_s=delay_s, end=end, end_after_s=end_after_s)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unheard Of"


def instance(instance_id: str, status: str | None = None, **fields: object) -> bytes:
    """Return the documented object; a field given as `...` is left out."""
    documented: dict[str, object] = {
        "id": instance_id,
        "modelId": MODEL_ID,
        "modelName": "AddTwoNumbers",
        "modelVersion": "1.1.0",
        "createdBy": "8811501",
        "createdOn": "2023-11-15T15:28:57.479Z",
        "updatedBy": "8811501",
        "updatedOn": "2023-11-15T15:28:57.479Z",
        "status": status,
        "deploymentId": "b1f6",
        "bpmnProcessId": "Process_a8afdc89",
        "bpmnProcessName": "AddTwoNumbers",
        "isTestRun": False,
    }
    kept = {key: value for key, value in {**documented, **fields}.items() if value is not ...}
    return json.dumps(kept).encode()


def ok(instance_id: str, status: str | None = None, **fields: object) -> Answer:
    """Return the documented 200."""
    return http(200, instance(instance_id, status, **fields))


def page(status: int = 200) -> Answer:
    """Return an HTML page, as a login form or a gateway sends it."""
    html = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in</body></html>"
    return http(status, html, {"Content-Type": "text/html; charset=utf-8"})


def problem(status: int, message: str = "no", **headers: str) -> Answer:
    """Return an error in JSON."""
    return http(status, json.dumps({"status": status, "message": message}).encode(), headers)


def not_found_page() -> Answer:
    """Return the 404 of a proxy that has no way to the service just now."""
    return http(404, b"404 page not found\n", {"Content-Type": "text/plain"})


def packed(data: bytes, *, encoding: str = "gzip", window_bits: int = 31) -> Answer:
    """Return a 200 whose body is compressed, in the form that zlib makes with `window_bits`."""
    packer = zlib.compressobj(wbits=window_bits)
    body = packer.compress(data) + packer.flush()
    return http(200, body, {"Content-Encoding": encoding})


def limited(retry_after: str | None = "1") -> Answer:
    """Return a 429, with `Retry-After` unless it is `None`."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return http(429, b'{"status": 429, "message": "slow down"}', headers)


def redirect(status: int, location: str) -> Answer:
    """Return a redirect to another address."""
    return http(status, headers={"Location": location})


def silence() -> Answer:
    """Return nothing, ever."""
    return Answer(end=End.SILENCE)


def gone(*, reset: bool = False, sent: bytes = b"", delay_s: float = 0.0) -> Answer:
    """Close or reset the connection after these bytes; before any answer if there are none."""
    return Answer(sent, delay_s=delay_s, end=End.RST if reset else End.FIN)


def cut(instance_id: str, after: int, *, reset: bool = False) -> Answer:
    """Return the documented 200, its first `after` bytes only."""
    return gone(reset=reset, sent=ok(instance_id).data[:after])


def truncated(instance_id: str) -> Answer:
    """Return a body shorter than its `Content-Length` says, then FIN."""
    body = instance(instance_id)
    return http(200, body, length=len(body) + 100, end=End.FIN)


def chunked(*chunks: bytes, end: End = End.KEEP) -> Answer:
    """Return a 200 in these chunks, each as it stands on the wire."""
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return Answer(head + b"".join(chunks), end=end)


def bad_chunk() -> Answer:
    """Return a chunk whose size is no number."""
    return chunked(b'zz\r\n{"id":\r\n', end=End.FIN)


def cut_chunk() -> Answer:
    """Return a chunk that ends early, then FIN."""
    return chunked(b'ff\r\n{"id":', end=End.FIN)


def long_header(instance_id: str, size: int = 9 * 1024) -> Answer:
    """Return a good answer with one header of this size."""
    return http(200, instance(instance_id), {"X-Long": "a" * size})


def many_headers(instance_id: str, count: int = 200) -> Answer:
    """Return a good answer with this many more headers."""
    return http(200, instance(instance_id), {f"X-{place}": "a" for place in range(count)})


def drip(instance_id: str, pause_s: float = 0.1) -> Answer:
    """Return a good answer, byte by byte."""
    return Answer(ok(instance_id).data, drip_s=pause_s)


def endless() -> Answer:
    """Return a 200 whose body has no end."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    return Answer(head + b'{"id": "', repeat=b"a" * 65536, end=End.FIN)


@functools.cache
def gzip_bomb(megabytes: int = 200) -> Answer:
    """Return a small gzip body that inflates to this many megabytes of zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1_000_000)
    body = b"".join([packer.compress(zeros) for _ in range(megabytes)]) + packer.flush()
    return http(200, body, {"Content-Encoding": "gzip"})


def closing_soon(instance_id: str, after_s: float = 0.02) -> Answer:
    """Return a good answer, then close the idle connection without having said so."""
    return http(200, instance(instance_id), end=End.FIN, end_after_s=after_s)


def closing_on_next(instance_id: str) -> Answer:
    """Return a good answer, then close on whatever request comes next, unanswered."""
    return http(200, instance(instance_id), end=End.CLOSE_ON_NEXT)


def limited_somehow(instance_id: str) -> Answer:
    """Return a 429 with a good, a dated, a junk or no `Retry-After`, depending on the ID."""
    dated = formatdate(time.time() + 2, usegmt=True)
    return limited(("1", dated, "soon", None)[int(instance_id[:2], 16) % 4])


FAULTS: dict[str, Callable[[str], Answer]] = {
    "fin": lambda _: gone(),
    "rst": lambda _: gone(reset=True),
    "cut_fin": lambda each: cut(each, 250),
    "cut_rst": lambda each: cut(each, 250, reset=True),
    "truncated": truncated,
    "bad_chunk": lambda _: bad_chunk(),
    "cut_chunk": lambda _: cut_chunk(),
    "garbage": lambda _: gone(sent=GARBAGE_STATUS_LINE),
    "long_header": long_header,
    "many_headers": many_headers,
    "page": lambda _: page(),
    "empty": lambda _: http(200),
    "list": lambda _: http(200, b"[]"),
    "null": lambda _: http(200, b"null"),
    "wrong_types": lambda _: http(200, b'{"id": {}, "status": [1]}'),
    "500": lambda _: problem(500),
    "502": lambda _: page(502),
    "503": lambda _: problem(503),
    "504": lambda _: page(504),
    "408": lambda _: problem(408),
    "429": limited_somehow,
    "404_page": lambda _: not_found_page(),
    "403_page": lambda _: page(403),
    "407": lambda _: page(407),
    "other_instance": lambda _: http(200, instance("2052e10a-d142-4391-a731-2be1ab1c0188")),
    "no_id": lambda _: http(200, b'{"id": null, "success": false}'),
    "packed_page": lambda _: packed(b"<html>"),
    "closing_on_next": closing_on_next,
    "endless": lambda _: endless(),
    "gzip_bomb": lambda _: gzip_bomb(20),
    "silence": lambda _: silence(),
    "drip": drip,
}
"""Each kind of trouble that a second attempt gets over; the last two end by a client's timeout.

After `closing_on_next` it is another ID that suffers.
"""


def mixed_faults(seed: int, share: float, kinds: tuple[str, ...] = tuple(FAULTS)) -> Plan:
    """Return a plan: for `share` of the IDs some fault on the first answer, then all is well.

    Which IDs and which faults depends on the seed and the ID alone, not on the order.
    """

    def plan(instance_id: str, nth: int) -> Answer:
        if nth > 1:
            return ok(instance_id)
        draw = hashlib.blake2b(f"{seed}:{instance_id}".encode(), digest_size=8).digest()
        if int.from_bytes(draw[:4]) >= share * 2**32:
            return ok(instance_id)
        return FAULTS[kinds[int.from_bytes(draw[4:]) % len(kinds)]](instance_id)

    return plan
