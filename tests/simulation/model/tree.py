"""The v2 store's nodes: files and directories in a tree.

Rules of this file
1. Paths are the store's own: what clients call ``/a`` is ``/1/a``.
2. A node's JSON leaves out what is zero; hidden children (``_name``) are not listed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from tests.simulation.model.wire import Json

__all__ = ["Node"]

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def expiration(expire: float) -> str:
    """Give a moment as v2 writes it: RFC 3339, without the zeros at the end."""
    shown = (_EPOCH + timedelta(seconds=expire)).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return shown.rstrip("0").rstrip(".") + "Z"


class Node:
    """A file (`children` is None) or a directory; `expire` is None when it stays for ever."""

    __slots__ = ("children", "created", "expire", "modified", "parent", "path", "value")

    def __init__(
        self,
        path: str,
        created: int,
        parent: Node | None,
        *,
        value: str | None = None,
        expire: float | None = None,
    ) -> None:
        self.path = path
        self.created = self.modified = created
        self.parent = parent
        self.value = value
        self.expire = expire
        self.children: dict[str, Node] | None = {} if value is None else None

    @property
    def is_dir(self) -> bool:
        return self.children is not None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def times(self, now: float) -> Json:
        """Give when it ends, as JSON has it."""
        if self.expire is None:
            return {}
        found: Json = {"expiration": expiration(self.expire)}
        if left := math.ceil(self.expire - now):
            found["ttl"] = left
        return found

    def shape(self, now: float, *, recursive: bool = False, depth: int = 1) -> Json:
        """Give it as JSON has it, with its children if it is asked for them (`depth` 0) or for all."""
        shape: Json = {"key": self.path}
        if self.children is None:
            shape["value"] = self.value
        else:
            shape["dir"] = True
        shape |= self.times(now)
        if self.children and (recursive or depth == 0):
            listed = [
                child.shape(now, recursive=recursive)
                for name, child in self.children.items()
                if not name.startswith("_")
            ]
            if listed:
                shape["nodes"] = listed
        if self.created:
            shape["modifiedIndex"] = self.modified
            shape["createdIndex"] = self.created
        return shape

    def below(self) -> Iterator[Node]:
        """Give it and all that is below it."""
        yield self
        for child in (self.children or {}).values():
            yield from child.below()

    def remove(self, gone: Callable[[Node], None]) -> None:
        """Take it out of the tree with all that is below; `gone` hears of each, children first."""
        for child in list((self.children or {}).values()):
            child.remove(gone)
        siblings = self.parent.children if self.parent is not None else None
        if siblings is not None and siblings.get(self.name) is self:
            del siblings[self.name]
        gone(self)

    def copy(self, parent: Node | None = None) -> Node:
        """Give a copy, with all that is below."""
        twin = Node(self.path, self.created, parent, value=self.value, expire=self.expire)
        twin.modified = self.modified
        if self.children is not None:
            twin.children = {name: child.copy(twin) for name, child in self.children.items()}
        return twin


def sort(shape: Json) -> None:
    """Put the nodes of a listing in order, at every level."""
    nodes = shape.get("nodes")
    if nodes:
        nodes.sort(key=lambda node: node["key"])
        for node in nodes:
            sort(node)
