"""The v2 store: a tree, one index that every change moves on, and the last events.

The rules
1. What is changed takes the next index; what is refused takes none. `set` makes a new incarnation, `update`
   and the comparisons keep the one there is.
2. A refresh moves the index on and is kept in the history, but nobody hears of it.
3. A directory that ends takes along all that is below, in one event.
4. The history keeps the last events; who asks for an earlier one is told that it is cleared.
"""

from __future__ import annotations

from collections import deque
from posixpath import join, normpath
from typing import Any

from tests.simulation.model.errors import release
from tests.simulation.model.tree import Node, sort
from tests.simulation.model.v2errors import V2Error
from tests.simulation.model.wire import Json

__all__ = ["Event", "V2Store"]

_READ_ONLY = ("/", "/0", "/1")


class Event:
    """One change; `removed` are the paths that it took away, children first."""

    __slots__ = ("action", "at", "index", "node", "prev", "refresh", "removed")

    def __init__(self, action: str, node: Json, prev: Json | None, index: int) -> None:
        self.action = action
        self.node = node
        self.prev = prev
        self.index = index
        self.refresh = False
        self.removed: list[str] = []

    def shape(self) -> Json:
        """Give it as clients see it."""
        shape: Json = {"action": self.action, "node": trimmed(self.node)}
        if self.prev is not None:
            shape["prevNode"] = trimmed(self.prev)
        return shape

    @property
    def key(self) -> str:
        key: str = self.node["key"]
        return key


def trimmed(node: Json) -> Json:
    """Give a node with the paths that clients use; the root has none."""
    found = dict(node)
    key = found["key"].removeprefix("/1")
    if key:
        found["key"] = key
    else:
        del found["key"]
    if "nodes" in found:
        found["nodes"] = [trimmed(child) for child in found["nodes"]]
    return found


class V2Store:
    """See the module's docstring."""

    def __init__(self, version: str, capacity: int) -> None:
        self.index = 4
        self.events: list[Event] = []
        """Every event there has been; never cleared."""
        self._old = release(version) == (3, 4)
        self._history: deque[Event] = deque(maxlen=capacity)
        self._root = Node("/", 0, None)
        self._mortal: dict[Node, None] = {}
        assert self._root.children is not None
        self._root.children["1"] = Node("/1", 0, self._root)

    def copy(self) -> V2Store:
        """Give what a member keeps that is cut off."""
        twin = object.__new__(V2Store)
        twin.index = self.index
        twin.events = []
        twin._old = self._old
        twin._history = self._history.copy()
        twin._root = self._root.copy()
        twin._mortal = {}
        return twin

    # -- reading -----------------------------------------------------------------------------------------------

    def get(self, path: str, *, recursive: bool, in_order: bool, now: float) -> Json:
        """Read a node."""
        shape = self._find(path).shape(now, recursive=recursive, depth=0)
        if in_order:
            sort(shape)
        return {"action": "get", "node": trimmed(shape)}

    def nodes(self) -> list[Node]:
        """Give all files and directories of clients."""
        return [node for node in self._find("/1").below() if node.path != "/1"]

    def _find(self, path: str) -> Node:
        node = self._root
        for name in path.split("/"):
            if not name:
                continue
            if node.children is None:
                raise V2Error(104, node.path, self.index)
            child = node.children.get(name)
            if child is None:
                raise V2Error(100, join(node.path, name), self.index)
            node = child
        return node

    def _dirs(self, path: str) -> Node:
        """Give a directory, and make it and those above it if need be."""
        node = self._root
        for name in path.split("/"):
            if not name:
                continue
            children = node.children
            assert children is not None
            child = children.get(name)
            if child is None:
                child = children[name] = Node(join(node.path, name), self.index + 1, node)
            elif child.children is None:
                raise V2Error(104, child.path, self.index)
            node = child
        return node

    # -- writing -----------------------------------------------------------------------------------------------

    def create(
        self, path: str, value: str | None, *, unique: bool, expire: float | None, now: float
    ) -> Event:
        """Make a node, which must not be there; `value` None makes a directory."""
        if unique:
            path = f"{path}/{self.index + 1:020d}"
        return self._done(self._make("create", path, value, False, expire, now))

    def set(
        self, path: str, value: str | None, *, expire: float | None, refresh: bool, now: float
    ) -> Event:
        """Make a node, in place of the file that may be there."""
        try:
            there: Node | None = self._find(path)
        except V2Error as error:
            if error.code != 100 or refresh:
                raise
            there = None
        if refresh and there is not None:
            value = there.value or ""
        event = self._make("set", path, value, True, expire, now)
        event.refresh = refresh
        return self._done(event)

    def update(
        self, path: str, value: str, *, expire: float | None, refresh: bool, now: float
    ) -> Event:
        """Change a node that is there; of a directory only the ttl, and on 3.5 not even that."""
        self._check_writable(path)
        node = self._find(path)
        if node.is_dir and value:
            raise V2Error(102, path, self.index)
        if node.is_dir and not self._old:
            raise V2Error(300, f"nodePath {path} : Not a file ()", 0)
        prev = node.shape(now)
        if refresh:
            value = node.value or ""
        if not node.is_dir:
            node.value, node.modified = value, self.index + 1
        event = self._event("update", node, prev, expire, now)
        event.refresh = refresh
        return self._done(event)

    def compare_and_swap(
        self,
        path: str,
        value: str,
        wanted: tuple[str, int],
        *,
        expire: float | None,
        refresh: bool,
        now: float,
    ) -> Event:
        """Change a file that is as it is wanted: its value and its index, where they are given."""
        self._check_writable(path)
        node = self._compared(path, wanted)
        prev = node.shape(now)
        node.value = node.value if refresh else value
        node.modified = self.index + 1
        event = self._event("compareAndSwap", node, prev, expire, now)
        event.refresh = refresh
        return self._done(event)

    def delete(self, path: str, *, is_dir: bool, recursive: bool, now: float) -> Event:
        """Delete a node."""
        self._check_writable(path)
        node = self._find(path)
        if node.is_dir and not (is_dir or recursive):
            raise V2Error(102, path, self.index)
        if node.children and not recursive:
            raise V2Error(108, node.path, self.index)
        return self._gone("delete", node, now)

    def compare_and_delete(self, path: str, wanted: tuple[str, int], *, now: float) -> Event:
        """Delete a file that is as it is wanted."""
        return self._gone("compareAndDelete", self._compared(path, wanted), now)

    def expire(self, until: float, now: float) -> Event | None:
        """End the next node whose time is over."""
        over = [node for node in self._mortal if node.expire is not None and node.expire <= until]
        if not over:
            return None
        return self._gone("expire", min(over, key=lambda n: (n.expire, n.created, n.path)), now)

    def next_expiry(self) -> float | None:
        """Give when the next node's time is over."""
        return min((node.expire or 0.0 for node in self._mortal), default=None)

    # -- what they have in common --------------------------------------------------------------------------------

    def _check_writable(self, path: str) -> None:
        if path in _READ_ONLY:
            raise V2Error(107, "/", self.index)

    def _make(
        self,
        action: str,
        path: str,
        value: str | None,
        replace: bool,
        expire: float | None,
        now: float,
    ) -> Event:
        path = normpath(path)
        self._check_writable(path)
        above, _, name = path.rpartition("/")
        parent = self._dirs(above)
        assert parent.children is not None
        there = parent.children.get(name)
        prev = None
        if there is not None:
            if not replace:
                raise V2Error(105, path, self.index)
            if there.is_dir:
                raise V2Error(102, path, self.index)
            prev = there.shape(now)
            self._mortal.pop(there, None)
        node = parent.children[name] = Node(path, self.index + 1, parent, value=value)
        return self._event(action, node, prev, expire, now)

    def _compared(self, path: str, wanted: tuple[str, int]) -> Node:
        node = self._find(path)
        if node.is_dir:
            raise V2Error(102, path, self.index)
        pairs: list[tuple[Any, Any]] = list(zip(wanted, (node.value, node.modified), strict=True))
        failed = [f"[{want} != {have}]" for want, have in pairs if want and want != have]
        if failed:
            raise V2Error(101, " ".join(failed), self.index)
        return node

    def _event(
        self, action: str, node: Node, prev: Json | None, expire: float | None, now: float
    ) -> Event:
        """Give the event of a change, at the next index, and the node its new end."""
        node.expire = expire
        if expire is None:
            self._mortal.pop(node, None)
        else:
            self._mortal[node] = None
        shape = node.shape(now)
        shape["modifiedIndex"] = self.index + 1
        return Event(action, shape, prev, self.index + 1)

    def _gone(self, action: str, node: Node, now: float) -> Event:
        shape: Json = {"key": node.path}
        if node.is_dir:
            shape["dir"] = True
        shape |= {"modifiedIndex": self.index + 1, "createdIndex": node.created}
        event = Event(action, shape, node.shape(now), self.index + 1)

        def gone(one: Node) -> None:
            self._mortal.pop(one, None)
            event.removed.append(one.path)

        node.remove(gone)
        return self._done(event)

    def _done(self, event: Event) -> Event:
        self.index = event.index
        self._history.append(event)
        self.events.append(event)
        return event

    # -- history -------------------------------------------------------------------------------------------------

    def scan(self, path: str, *, recursive: bool, since: int) -> Event | None:
        """Give the first event from `since` on, or None if there is none yet."""
        history = self._history
        first = history[0].index if history else 0
        if since < first:
            cause = f"the requested history has been cleared [{first}/{since}]"
            raise V2Error(401, cause, self.index)
        for event in history if since <= self.index else ():
            if event.index >= since and not event.refresh and _concerns(event, path, recursive):
                return event
        return None

    def forget(self) -> None:
        """Clear the history, as a restart from a snapshot does."""
        while len(self._history) > 1:
            self._history.popleft()


def _concerns(event: Event, path: str, recursive: bool) -> bool:
    """Tell whether a watch is told of an event of the past; for directories that ended, etcd looks at the
    beginning of the path alone.
    """
    key = event.key
    if key == path or (recursive and key.startswith(f"{path}/")):
        return True
    ended = event.action in ("delete", "expire") and event.prev is not None
    return ended and bool((event.prev or {}).get("dir")) and path.startswith(key)
