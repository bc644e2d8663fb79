"""Instance IDs: which text is one, the shard each belongs to, and a compact set of them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from bulkcancel.text import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEX = "[0-9a-fA-F]"
UUID = f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
"""The pattern of an instance ID: ASCII, 8-4-4-4-12."""
ANY_ID = re.compile(UUID)
"""Finds them in the middle of a text."""
# An executions page's address: .../workflows/instances/{modelId}/{version}/{instanceId}
_PAGE = re.compile(
    r"https://([a-z0-9.-]+(?::[0-9]+)?)/(?:[^\s?#]+/)?workflows/instances/[^\s?#]+/"
    rf"({UUID})/?(?:[?#]\S*)?",
    re.IGNORECASE,
)
_HEX_ALONE = re.compile(rf"{_HEX}{{32}}")
DOMAIN = ".domo.com"
"""What the host names of Domo's instances end in."""
_OUTER_SPACE = " \t\r\n\ufeff\xa0"

is_plain_id = ANY_ID.fullmatch
"""Whether a text is an ID and nothing else: most are, a million times a file."""


def parse_instance_id(text: str) -> str | None:
    """Return the lower-case UUID that `text` is, or `None`.

    `text` is an ASCII UUID in its 8-4-4-4-12 form (RFC 9562, section 4) or the https address of
    an executions page whose path ends in one; space around it does not count. Braces, `urn:uuid:`,
    missing dashes and digits from beyond ASCII make it invalid: what is not surely an ID is
    never put into a URL.
    """
    text = text.strip(_OUTER_SPACE)
    if is_plain_id(text):
        return text.lower()
    page = _PAGE.fullmatch(text)
    return page[2].lower() if page else None


def is_page(text: str) -> bool:
    """Return whether `text` is the address of an executions page that ends in an instance ID."""
    return _PAGE.fullmatch(text.strip(_OUTER_SPACE)) is not None


@dataclass(slots=True)
class PageHost:
    """The host whose executions pages stand for the run's instances.

    Where it is not known, as behind a gateway, it is that of the first page: instances of two
    hosts cannot be meant by one run.
    """

    name: str | None = None

    @classmethod
    def of_run(cls, host: str) -> PageHost:
        """Return that of a run against `host`: known if it is one of Domo's own."""
        name = host.partition("/")[0].partition(":")[0]
        return cls(name if name.endswith(DOMAIN) else None)

    def read(self, text: str) -> tuple[str, str | None]:
        """Return the ID that `text` is and `None`; or what was read and why it is refused.

        What was read is `text` itself, or the ID of a page of another host. The first page sets
        `name` if it is not known.
        """
        page = _PAGE.fullmatch(text.strip(_OUTER_SPACE))
        if page is None:
            instance_id = parse_instance_id(text)
            return (text, why_no_id(text)) if instance_id is None else (instance_id, None)
        instance_id, host = page[2].lower(), page[1].lower().removesuffix(":443")
        if self.name is None:
            self.name = host
        if host == self.name:
            return instance_id, None
        return instance_id, (
            f"this is a page on {shorten(host, 80)}, the run is about {self.name}: cancel each "
            "instance of Domo in a run of its own"
        )


def why_no_id(text: str) -> str:
    """Return what is wrong with text that is no instance ID."""
    text = text.strip()
    if not text:
        return "empty"
    if _HEX_ALONE.fullmatch(text):
        return "a UUID without its dashes"
    if text.lower().startswith("urn:uuid:"):
        return "a UUID with urn:uuid: before it: give the UUID alone"
    if text.lower().startswith(("http://", "https://")):
        return "an address that is not an executions page (https) ending in an instance ID"
    if parse_instance_id(text.strip("{}()<>[]")):
        return "a UUID in brackets: take them off"
    if parse_instance_id(text.strip("\"'`,;")):
        return "a UUID in quotes or with a delimiter: take them off"
    if not text.isascii() and parse_instance_id(unicodedata.normalize("NFKC", text)):
        return "a UUID in full-width or other letters beyond ASCII: type it in ASCII"
    return "not a UUID"


def pack(instance_id: str) -> bytes:
    """Return the 16 bytes of a valid ID."""
    return bytes.fromhex(instance_id.replace("-", ""))


def unpack(packed: bytes) -> str:
    """Return the lower-case ID of 16 bytes, the inverse of `pack`."""
    (text,) = split_hex(packed.hex())
    return text


def split_hex(digits: str) -> Iterator[str]:
    """Yield the ID that each 32 lower-case hexadecimal digits stand for."""
    for at in range(0, len(digits), 32):
        one = digits[at : at + 32]
        yield f"{one[:8]}-{one[8:12]}-{one[12:16]}-{one[16:20]}-{one[20:]}"


def shard_of(text: str, count: int) -> int:
    """Return which of `count` shards, from 0, an ID belongs to: the same in every program.

    That is `int(first 8 hexadecimal digits of SHA-256 of the lower-case ID, 16) % count`, the ID
    in ASCII with its dashes. `text` may also be what stood in the place of an ID (as UTF-8).
    """
    return int.from_bytes(sha256(text.lower().encode()).digest()[:4], "big") % count


class IdSet:
    """A set of packed IDs in about 30 bytes each; a `set` of strings takes 150.

    A hash table whose buckets are the members' bytes one after another. Exact: the whole ID is
    compared, the hash only finds its bucket (SipHash with a random key, so no input can make
    one bucket grow).
    """

    __slots__ = ("_buckets", "_size")
    _MASK = 0xFFFF

    def __init__(self) -> None:
        self._buckets: dict[int, bytearray] = {}
        self._size = 0

    def add(self, packed: bytes) -> bool:
        """Add 16 bytes; return whether they were new."""
        key = hash(packed) & self._MASK
        bucket = self._buckets.get(key)
        if bucket is None:
            self._buckets[key] = bytearray(packed)
        elif self._holds(bucket, packed):
            return False
        else:
            bucket += packed
        self._size += 1
        return True

    def __contains__(self, packed: bytes) -> bool:
        bucket = self._buckets.get(hash(packed) & self._MASK)
        return bucket is not None and self._holds(bucket, packed)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        for bucket in self._buckets.values():
            for at in range(0, len(bucket), 16):
                yield bytes(bucket[at : at + 16])

    @staticmethod
    def _holds(bucket: bytearray, packed: bytes) -> bool:
        at = bucket.find(packed)
        while at > 0 and at % 16:  # a match across two members is none
            at = bucket.find(packed, at + 1)
        return at >= 0
