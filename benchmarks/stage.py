"""The stage of a run: who is there, how much is measured, and servers for those who are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from benchmarks import servers
from benchmarks.arithmetic import Rounds
from benchmarks.peers import PEERS, Peer, Store

__all__ = ["Column", "Figure", "Scale", "Stage"]

T = TypeVar("T")
Scale = Literal["full", "quick", "tiny"]
"""`quick` shows that all works, in a minute; `tiny` is for tests; figures that count are `full`."""


@dataclass(frozen=True, slots=True)
class Stage:
    """`peers` are those that are here and wanted."""

    scale: Scale
    peers: tuple[Peer, ...]

    def pick(self, *, full: T, quick: T, tiny: T) -> T:
        return {"full": full, "quick": quick, "tiny": tiny}[self.scale]

    def those(self, *names: str) -> list[Peer]:
        """Give those of these names that are here, in this order."""
        return [PEERS[name] for name in names if PEERS[name] in self.peers]


@contextmanager
def servers_for(peers: Iterable[Peer]) -> Iterator[dict[Store, str]]:
    """Give the endpoints of fresh servers for these peers, by store; v2 and v3 are of one etcd."""
    stores = {peer.store for peer in peers}
    with ExitStack() as stack:
        found: dict[Store, str] = {}
        if stores & {"v3", "v2"}:
            found["v3"] = found["v2"] = stack.enter_context(servers.etcd())
        if "zookeeper" in stores:
            found["zookeeper"] = stack.enter_context(servers.zookeeper())
        yield found


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a figure's table: a measure, folded over the rounds, or `over` that of a floor ("floor") or peer."""

    head: str
    measure: str
    digits: int = 0
    fold: str = "median"
    over: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that is measured: its name, its title, its rule in words, its columns, and how it is played.

    `drawn` are the columns, by their heads, that are drawn as bars.
    """

    name: str
    title: str
    rule: str
    columns: tuple[Column, ...]
    play: Callable[[Stage], Rounds]
    drawn: tuple[str, ...] = ()
    ours_alone: bool = False

    @property
    def about(self) -> str:
        """The rule as prose, its lines joined."""
        return "\n\n".join(" ".join(part.split()) for part in self.rule.strip().split("\n\n"))


Played = dict[str, list[dict[str, Any]]]
