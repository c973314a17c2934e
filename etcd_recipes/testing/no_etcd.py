"""NoEtcd: a client without an etcd, for unit tests of code that takes a client.

It is the client with a Store in memory (`memory`) below it: the recipes are the real ones, and so are sessions,
waits, tokens and losses.
"""

from __future__ import annotations

from typing import Never

from etcd_recipes.client import Client
from etcd_recipes.coordination.sessions import Sessions, check_ttl
from etcd_recipes.core.errors import RecipeError
from etcd_recipes.core.log import event_logger
from etcd_recipes.testing.memory import MemoryStore

__all__ = ["NoEtcd"]


class NoEtcd(Client):
    """A client whose recipes work in this process alone: nothing is sent, no server is needed.

    ::

        with NoEtcd() as client:
            nightly(client)                    # every lock is free, every election is won
        with NoEtcd() as client, client.another() as rival:
            with rival.lock("jobs/nightly"):
                nightly(client)                # this one is taken

    All recipes are there, and are the real ones: holds with tokens that grow, `expire(hold)`, waiting in line,
    registries, barriers. What is not there is etcd: `client.v3`, `client.v2`, `endpoints` and the like raise
    RecipeError.

    WHAT A TEST WITH IT DOES NOT SHOW. It is not etcd, and excludes nobody: another process, even a forked
    child, has a world of its own and gets the same lock at the same time. Nothing here is ever slow, lost,
    refused, cut off, unauthorized or restarted, so no code that deals with ClusterError, timeouts or a suspended
    session is run by it, and it says nothing about versions, permissions or limits of a server. Test
    those with the fixtures `etcd_client` and `fault_proxy`.

    `namespace`, `session_ttl` and `default_timeout` are those of Client.
    """

    def __init__(
        self, *, namespace: str = "", session_ttl: float = 15.0, default_timeout: float = 10.0
    ) -> None:
        self._begin(MemoryStore(), namespace, session_ttl, default_timeout)

    def _begin(
        self, store: MemoryStore, namespace: str, session_ttl: float, default_timeout: float
    ) -> None:
        event_logger("client")  # as in Client
        self._namespace = namespace
        self._default_timeout = default_timeout
        self._sessions = Sessions(
            store, default_ttl=check_ttl(session_ttl), default_timeout=default_timeout
        )

    def another(self) -> NoEtcd:
        """Make a second client that sees the same keys: somebody else, who may hold what this one wants."""
        other = NoEtcd.__new__(NoEtcd)
        store, ttl = self._sessions.store, self._sessions.default_ttl
        assert isinstance(store, MemoryStore)
        other._begin(store, self._namespace, ttl, self._default_timeout)
        return other

    def close(self) -> None:
        """End the sessions, so that all they hold is released at once."""
        self._sessions.close()

    def __getattr__(self, name: str) -> Never:
        """Raise RecipeError for what a client has because there is an etcd."""
        if name.startswith("__") or name not in _OF_ETCD:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise RecipeError(
            "this client is a NoEtcd: it has recipes, and no etcd to send anything to; test what "
            "needs one with the fixture etcd_client"
        )

    def __repr__(self) -> str:
        return "<NoEtcd>"


_OF_ETCD = frozenset({"v3", "_cluster", "_gateway", "_selection", "_secure", "_retry"})
"""What Client's constructor sets and this one does not, the names that a user writes or their calls lead to."""
