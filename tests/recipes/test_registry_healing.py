"""Healing for ever and never after close, when replies are lost, late or never come."""

from __future__ import annotations

import logging
import random
import shutil
import threading
from collections.abc import Callable
from functools import partial

import pytest

from etcd_recipes import Client, Context, Instance
from etcd_recipes.coordination import follow
from etcd_recipes.core.v3 import horizon
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.recipes.operator import remove, revoke
from tests.recipes.strikes import Interrupted, struck
from tests.recipes.test_registry import addresses
from tests.tools import Job, eventually

MakeClient = Callable[..., Client]
CREATES = {"v3": b"request_put", "v2": b"prevExist=false"}
DELETES = {"v3": b"request_delete_range", "v2": b"DELETE /v2"}


def at_work() -> list[str]:
    """The library's threads that still bring etcd to something."""
    names = ("etcd-recipes-heal", "etcd-recipes-sweeper")
    return [thread.name for thread in threading.enumerate() if thread.name in names]


def test_closing_while_the_healing_is_under_way_is_for_ever(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    reader = make_client()
    chance = random.Random(20)
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint)
        made = [client.registry(name).register("api", "a", id=f"{n}", ttl=2) for n in range(20)]
        proxy.delay(0.0, jitter=0.1)
        pause = threading.Event()

        def round_(number: int) -> None:
            remove(reader, f"{name}/api/{number}", api)
            made[number].update(weight=2)
            pause.wait(chance.uniform(0, 0.15))
            made[number].close()

        for job in [Job(lambda n=n: round_(n)) for n in range(20)]:
            job.result(30)
        proxy.heal()
        for registration in made:
            registration._keep_healing()  # a thread that was started before the close, and runs after
        eventually(lambda: not at_work(), 20, "the end of all work")
        # A creation that was under way may be carried out yet; it is swept up, or on v2 ends with its ttl.
        eventually(lambda: addresses(reader.registry(name)) == [], 5, "the end of late copies")


def test_an_update_in_an_outage_and_a_close_at_once(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    reader = make_client()
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint, header_timeout=0.3)
        gone = client.registry(name).register("api", "a", id="gone", ttl=30)
        stays = client.registry(name).register("api", "b", id="stays", ttl=30)
        proxy.refuse()
        assert stays.update(weight=5, timeout=0.1) is False
        assert gone.update(weight=5, timeout=0.1) is False
        assert gone.close(timeout=0.1) is False
        assert gone.close() is True
        assert {i.weight for i in reader.registry(name).instances("api")} == {1}
        proxy.heal()
        eventually(lambda: [i.weight for i in reader.registry(name).instances("api")] == [5], 10)
        eventually(lambda: not at_work(), 5)
        assert addresses(reader.registry(name)) == ["b"]


def test_a_publication_that_is_carried_out_after_the_close_is_swept_up_and_not_called_confirmed(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    reader = make_client().registry(name)
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint, header_timeout=None)
        registration = client.registry(name).register("api", "a", id="one", ttl=2)
        proxy.hold(only=CREATES[api])
        remove(client, f"{name}/api/one", api)
        eventually(lambda: proxy.hits, 5, "the healing")
        assert registration.close(timeout=5) is False
        with reader.follow("api") as view:
            assert view.instances == ()
            changes = view.events(timeout=10)
            proxy.heal()
            assert [next(changes).kind, next(changes).kind] == ["added", "removed"]


def test_a_lost_reply_of_the_creation_makes_one_listed_instance(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint)
        client.session(30)
        proxy.lose_reply(only=CREATES[api], times=1)
        registration = client.registry(name).register("api", "a", ttl=30)
        assert proxy.hits == 1
        assert registration.is_published
        reader = make_client().registry(name)
        assert reader.instances("api") == (registration.instance,)
        assert registration.update(weight=2)
        assert registration.close()
        assert reader.instances("api") == ()


def test_a_signal_in_the_close_of_a_registration_closes_it_all_the_same(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `_withdraw` goes on in the background after errors of the library only; a second close says True.
    registry = client.registry(name)
    registration = registry.register("api", "10.0.0.7:80")
    struck(monkeypatch, client._sessions.store, "delete", Interrupted())
    with pytest.raises(Interrupted):
        registration.close()
    assert registration.close()
    eventually(lambda: registry.instances("api") == (), 3, "the removal of the instance")


def test_what_was_closed_may_be_registered_again_while_it_is_being_removed(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    # The sweeper has the claim, and the error says to close what was closed.
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client(proxy.endpoint, header_timeout=0.3)
        registry = client.registry(name)
        registration = registry.register("api", "10.0.0.7:80", id="one")
        proxy.refuse()
        assert not registration.close(timeout=0.2)
        job = Job(lambda: registry.register("api", "10.0.0.8:80", id="one", timeout=8))
        Context(0.2).wait()
        proxy.heal()
        assert job.result().is_published


def test_a_late_delete_of_the_old_process_never_removes_the_new_one(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        old = make_client(proxy.endpoint, header_timeout=None).registry(name)
        new = make_client().registry(name)
        first = old.register("api", "old", id="web-1", ttl=30)
        proxy.hold(only=DELETES[api])
        assert first.close(timeout=0.2) is False
        second = new.register("api", "new", id="web-1", ttl=30)
        proxy.heal()
        eventually(lambda: not at_work(), 5, "the late deletes")
        assert addresses(new) == ["new"]
        assert second.update(weight=3)
        assert first.instance.owner != second.instance.owner


def test_two_that_live_do_not_take_the_id_from_each_other_and_the_first_comes_back(
    client: Client, other: Client, name: str, api: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "etcd_recipes")
    first = client.registry(name).register("api", "first", id="one", ttl=30)
    second = other.registry(name).register("api", "second", id="one", ttl=30)
    assert first.update(weight=2) is False
    eventually(lambda: "belongs to another" in str([vars(r) for r in caplog.records]), 5, "a try")
    assert addresses(other.registry(name)) == ["second"]
    assert second.update(weight=3)
    assert second.close()
    eventually(lambda: addresses(other.registry(name)) == ["first"], 10)


def test_a_session_lost_twice_in_a_row_and_draining_survives(
    client: Client, other: Client, name: str, api: str
) -> None:
    registration = client.registry(name).register("api", "a", id="one", ttl=2, weight=3)
    assert registration.drain()
    reader = other.registry(name)

    def is_new(before: object) -> bool:
        return registration.is_published and registration._published is not before

    for _ in range(2):
        before = registration._published
        revoke(other, client.session(2), api)
        eventually(partial(is_new, before), 5, "the healing")
    assert reader.instances("api", draining=True) == (
        Instance("api", "one", "a", {}, 3, draining=True),
    )


@pytest.mark.only_v3
def test_a_lease_that_is_gone_and_nobody_knows_costs_one_more_request(
    client: Client, other: Client, name: str, api: str
) -> None:
    session = client.session(60)
    other.v3.lease.revoke(session.id)
    assert session.is_alive, "its next renewal is 20 s away"
    registration = client.registry(name).register("api", "a", ttl=60)
    assert registration.is_published
    assert not session.is_alive
    other.v3.lease.revoke(client.session(60).id)
    assert registration.update(weight=2) is False
    eventually(lambda: [i.weight for i in other.registry(name).instances("api")] == [2])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"weight": -1}, ValueError),
        ({"weight": True}, TypeError),
        ({"weight": 2**31}, ValueError),
        ({"address": ""}, ValueError),
        ({"address": 7}, TypeError),
        ({"zone": None}, TypeError),
        ({"draining": 1}, TypeError),
        ({"metadata": {"a": 1}}, TypeError),
    ],
)
def test_an_update_that_makes_no_sense_changes_nothing(
    client: Client, name: str, api: str, change: dict[str, object], error: type[Exception]
) -> None:
    with client.registry(name).register("api", "a") as registration:
        before = registration.instance
        with pytest.raises(error):
            registration.update(**change)  # type: ignore[arg-type]
        assert registration.instance is before


def test_a_view_goes_on_when_etcd_was_restored(
    make_client: MakeClient,
    server: EtcdProcess,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # `follow` goes on from its old revision, which is in the new history's future: it sees nothing for as long,
    # and says that it is fresh.
    monkeypatch.setattr(follow, "QUIET", 0.5)
    monkeypatch.setattr(horizon, "PATIENCE", 0.5)
    client, before = make_client(server.endpoint), make_client(server.endpoint)
    for n in range(30):
        before.registry(name).register("other", f"10.0.1.{n}:80").close()
    before.registry(name).register("api", "10.0.0.1:80")
    with client.registry(name).follow("api", max_drop=1.0) as view:
        assert [each.address for each in view.instances] == ["10.0.0.1:80"]
        before.close()
        server.stop()
        shutil.rmtree(server.folder / "data")
        server.restart()
        make_client(server.endpoint).registry(name).register("api", "10.0.0.2:80")
        eventually(lambda: [each.address for each in view.instances] == ["10.0.0.2:80"], 6)
