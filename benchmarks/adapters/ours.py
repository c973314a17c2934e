"""This library, as a program uses it; and what only it is asked for: a view, many holds, being idle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Literal

from etcd_recipes import Client, Context

SERVICE = "api"


class Adapter:
    def __init__(
        self, endpoints: list[str], store: Literal["v3", "v2"] = "v3", ttl: float = 60.0
    ) -> None:
        self._client = Client(endpoints, api=store, session_ttl=ttl)
        self._store = store
        self._kept = ExitStack()

    @classmethod
    def prepare(cls, **options: Any) -> None:
        """Have imported, before contenders are forked, what a client imports when it is first used."""
        client = cls(**options)
        client.lock("prepare").acquire().release()
        client.close()

    def get(self, key: str, *, quorum: bool = False) -> object:
        if self._store == "v3":
            return self._client.v3.kv.get(key)
        return self._client.v2.keys.get(key, quorum=quorum)

    def put(self, key: str, value: str) -> object:
        if self._store == "v3":
            return self._client.v3.kv.put(key, value)
        return self._client.v2.keys.set(key, value)

    def lock(self, name: str) -> Any:
        return self._client.lock(name)

    def warm_up(self) -> None:
        self._client.session()

    def watch(self, prefix: str) -> Iterator[str]:
        if self._store == "v3":
            events = self._client.v3.watch(prefix, prefix=True)
            return (event.kv.key.decode() for event in events)
        written = self._client.v2.keys.set(f"{prefix}begin", "")
        watcher = self._client.v2.keys.watcher(prefix, after_index=written.index, recursive=True)
        return (response.node.key for response in watcher)

    def endpoint_in_use(self) -> str:
        return self._client._cluster.pinned

    def close(self) -> None:
        self._kept.close()
        self._client.close()

    # -- a registry ------------------------------------------------------------------------------------------

    def example(self) -> list[str]:
        """Register one instance, and give its key and its value, as they stand in etcd."""
        with self._client.registry("bench").register("example", "10.0.0.1:80", metadata={"v": "1"}):
            (found,) = self._client.v3.kv.range("bench/example/", prefix=True).kvs
            return [found.key.decode(), found.value.decode()]

    def follow(self, service: str, expected: int) -> dict[str, float]:
        begun = time.monotonic()
        self._view = self._client.registry("bench").follow(service, timeout=60)
        seconds = time.monotonic() - begun
        self._changes = self._view.events()
        self._kept.push(self._view)
        assert len(self._view.instances) == expected
        return {"seconds": seconds}

    def until_seen(self, address: str) -> None:
        for event in self._changes:
            if event.new is not None and event.new.address == address:
                return

    # -- many holds ------------------------------------------------------------------------------------------

    def hold(self, count: int) -> dict[str, float]:
        """Take this many locks, one after the other, and keep them."""
        begun = time.monotonic()
        self._holds = [self._client.lock(f"many/{n}").acquire() for n in range(count)]
        return {"seconds": time.monotonic() - begun}

    def held(self) -> int:
        return sum(hold.is_held for hold in self._holds)

    def let_go(self) -> dict[str, float]:
        begun = time.monotonic()
        for hold in self._holds:
            hold.release()
        return {"seconds": time.monotonic() - begun}

    # -- idle ------------------------------------------------------------------------------------------------

    def be(self, what: str) -> None:
        """Be in this state from now on."""
        states: dict[str, Callable[[], object]] = {
            "nothing": lambda: self._client.v3.kv.get("warm"),
            "one lock held": lambda: self._client.lock("idle").acquire(),
            "one election led": lambda: self._enter(self._client.election("idle").campaign("me")),
            "one follower waiting": self._wait_behind_somebody,
            "one registration": lambda: self._enter(
                self._client.registry("idle").register(SERVICE, "10.0.0.1:80")
            ),
            "one view": lambda: self._enter(self._client.registry("idle").follow(SERVICE)),
        }
        states[what]()

    def _enter(self, thing: Any) -> None:
        self._kept.enter_context(thing)

    def _wait_behind_somebody(self) -> None:
        """Queue behind a key that has no lease: a holder who sends nothing."""
        self._client.v3.kv.put("idle/1", "held")
        election = self._client.election("idle")
        self._enter(election.background())
        while len(election.candidates()) < 2:
            Context().wait(0.01)
