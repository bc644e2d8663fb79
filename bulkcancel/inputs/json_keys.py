"""Which key of a JSON object holds the ID of the instance that the object is about."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from bulkcancel.ids import ANY_ID, is_page, parse_instance_id
from bulkcancel.inputs.columns import (
    ID_NAMES,
    find_named,
    is_of_something_else,
    normalise,
    says_run,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEPEST = 4
_BARE = "id"
# What stands under these is another instance than the one that the object is about.
_RELATED = re.compile(
    "parent|root|caller|child|prev|next|orig|trigger|start|ancest|sub|block|spawn|invok|initiat|"
    "retr|replac|depend|predecess|success|^source|ec2|by$"
)
_SIGNS_OF_A_MESSAGE = frozenset({"specversion", "detailtype"})
_LISTS = re.compile(r".*(instances|executions|runs)")


class Object(list[tuple[str, Any]]):
    """An object as its pairs, so that a key given twice is seen."""

    __slots__ = ()


Pairs: TypeAlias = list[tuple[str, Any]]
"""What an object and those inside of it hold, by paths such as `data.instanceId`."""


def flat(value: Object, prefix: str = "", depth: int = 1) -> Pairs:
    """Return what an object and those inside of it hold, each key as a path."""
    pairs = [(prefix + key, inner) for key, inner in value] if prefix else list(value)
    if depth < _DEEPEST:
        for key, inner in value:
            if isinstance(inner, Object):
                pairs += flat(inner, f"{prefix}{key}.", depth + 1)
    return pairs


@lru_cache(64)
def find_ids(names: tuple[str, ...], column: str | None) -> tuple[list[int], bool]:
    """Return where the ID is, and whether that is only an `id`, which may be of anything.

    It is under `column`, under a key that names an instance, or else under `id`.
    """
    if column is not None:
        return find_named(names, column), False
    named = [i for i, name in enumerate(names) if _names_instance(name)]
    if named or any(_is_sign_of_a_message(name) for name in names):
        return named, False
    bare = [i for i, name in enumerate(names) if normalise(name) == _BARE and "." not in name]
    return bare, bool(bare)


def _names_instance(path: str) -> bool:
    """Return whether a key is one of instances, and not of one related to the object's own."""
    *outer, key = path.split(".")
    related = any(part != "_source" and _RELATED.search(normalise(part)) for part in outer)
    return normalise(key) in ID_NAMES and normalise(key) != _BARE and not related


def _is_sign_of_a_message(name: str) -> bool:
    """Return whether a key shows that an `id` beside it is a message's or a document's."""
    return "." not in name and (name == "_source" or normalise(name) in _SIGNS_OF_A_MESSAGE)


def others_in(value: object, own: str, path: str = "") -> Iterator[str]:
    """Yield the paths of texts that hold another ID than `own` and may be the instance's.

    Keys of models, users and parents are passed over. Inside nested objects and lists any other
    text counts; at the top level only one whose key speaks of a run, or a page's address.
    """
    if isinstance(value, Object):
        for key, inner in value:
            if not is_of_something_else(key):
                yield from others_in(inner, own, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from others_in(inner, own, f"{path}[]")
    elif isinstance(value, str) and parse_instance_id(value) != own:
        inside = "." in path or "[" in path or says_run(path) or is_page(value)
        if inside and any(each.lower() != own for each in ANY_ID.findall(value)):
            yield path


def list_of_instances(pairs: Pairs, *, beside_an_id: bool) -> str | None:
    """Return the path, as `jq` takes it, of an array that holds instances; `None` without one.

    If the object has an `id` as well, it may be an instance itself: then only an array counts
    whose name, or a key in it, speaks of instances.
    """
    for path, value in pairs:
        if value.__class__ is not list:
            continue
        first = flat(value[0]) if value and isinstance(value[0], Object) else [("", *value[:1])]
        name = normalise(path)
        says_so = bool(_LISTS.fullmatch(name)) or any(_names_instance(key) for key, *_ in first)
        holds_ids = any(_is_id(x) for _, *xs in first for x in xs)
        if (says_so and not _RELATED.search(name)) or (holds_ids and not beside_an_id):
            return f".{path}[]" if re.fullmatch(r"[A-Za-z_][\w.]*", path) else ".NAME[]"
    return None


def _is_id(value: object) -> bool:
    return isinstance(value, str) and parse_instance_id(value) is not None
