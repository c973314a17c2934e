"""What a session keeps, and for how long."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from etcd_recipes import Client, ClusterError, Context, EndpointError
from etcd_recipes.coordination import session as module
from etcd_recipes.coordination.healers import MOST
from etcd_recipes.core import runtime
from etcd_recipes.core.store import Renewal
from etcd_recipes.testing import NoEtcd
from tests.tools import eventually, long


def test_a_doubt_is_looked_after_for_an_hour_and_then_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []
    with NoEtcd(session_ttl=9e8) as client:
        session = client.session()

        def renew(_ctx: Context, *, keys: bool) -> Renewal:
            asked.append(keys)
            return Renewal(9e8, frozenset() if keys else None)

        monkeypatch.setattr(session._grant, "renew", renew)
        now, later = runtime.now(), [0.0]
        monkeypatch.setattr(module.runtime, "now", lambda: now + later[0])

        def renewed_after(seconds: float) -> int:
            later[0] += seconds
            session._renew(Context())
            return len(session._suspects)

        for number in range(100):
            session.suspect(f"lost/{number}")
        assert renewed_after(1.0) == 100
        session.suspect("lost/0")  # once more: its hour begins anew
        assert renewed_after(module.LATEST - 0.5) == 1
        assert renewed_after(1.0) == 0
        assert asked == [True, True, False], "nothing rests on the lease, and nothing is in doubt"


def test_a_copy_that_comes_within_the_hour_is_withdrawn(client: Client, name: str) -> None:
    session = client.session(2)
    key = f"{name}/{session.id:x}"
    session.suspect(key)
    session._suspects[key] -= module.LATEST - 60
    client.v3.kv.put(key, "late", lease=session.id)
    session._renew(Context(5))
    assert client.v3.kv.get(key) is None


def test_a_thousand_registrations_are_healed_by_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    many = long(200, 1000)
    most, busy, lock = [0], [0], threading.Lock()
    with NoEtcd() as client:
        made = [client.registry().register("api", f"{n}:80") for n in range(many)]
        store = client._sessions.store
        create = store.create

        def counted(*args: Any) -> Any:
            with lock:
                busy[0] += 1
                most[0] = max(*most, *busy, threads())
            threading.Event().wait(0.002)  # a round trip, in which the others could come
            with lock:
                busy[0] -= 1
            return create(*args)

        monkeypatch.setattr(store, "create", counted)
        client.session().lose("an operator has revoked its lease")
        eventually(lambda: all(each.is_published for each in made), 30)
        eventually(lambda: threads() == 0)
    assert most == [MOST]


def threads() -> int:
    return sum(thread.name == "etcd-recipes-heal" for thread in threading.enumerate())


def test_one_that_cannot_be_healed_does_not_keep_the_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with NoEtcd() as client:
        made = [client.registry().register("api", f"{n}:80") for n in range(3 * MOST)]
        bad = {each._key for each in made[: 2 * MOST]}
        store = client._sessions.store
        create, refused = store.create, [True]

        def refuse(key: str, *args: Any) -> Any:
            if refused[0] and key in bad:
                raise ClusterError([EndpointError("http://nowhere", "refused")])
            return create(key, *args)

        monkeypatch.setattr(store, "create", refuse)
        monkeypatch.setattr(client._sessions, "default_timeout", 0.1)
        client.session().lose("an operator has revoked its lease")
        eventually(lambda: all(each.is_published for each in made[2 * MOST :]), 30)
        assert not any(each.is_published for each in made[: 2 * MOST])
        refused[0] = False
        eventually(lambda: all(each.is_published for each in made), 30)
