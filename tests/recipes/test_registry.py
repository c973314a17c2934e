"""The registry's and discovery's promises, against a real server."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable

import pytest

from etcd_recipes import (
    Client,
    ClusterError,
    DeadlineExceeded,
    Instance,
    NotHeld,
    RecipeError,
    Registry,
)
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.recipes.operator import remove, revoke, write
from tests.tools import Job, child, eventually, in_time

MakeClient = Callable[..., Client]


def addresses(registry: Registry, service: str = "api") -> list[str]:
    return sorted(instance.address for instance in registry.instances(service))


def compact(client: Client, endpoint: str) -> None:
    import urllib.request

    revision = client.v3.kv.put("compact-now", "x").revision
    body = json.dumps({"revision": str(revision), "physical": True}).encode()
    urllib.request.urlopen(f"{endpoint}/v3/kv/compaction", body, timeout=5).close()


# -- registering -----------------------------------------------------------------------------------


def test_what_is_registered_is_listed_until_it_is_closed(
    client: Client, other: Client, name: str, api: str
) -> None:
    registry, reader = client.registry(name), other.registry(name)
    one = registry.register(
        "api", "10.0.0.1:80", metadata={"version": "7"}, weight=3, zone="east", id="one"
    )
    two = registry.register("api", "10.0.0.2:80")
    registry.register("mail", "10.0.0.3:25")
    assert reader.instances("api") == tuple(
        sorted((one.instance, two.instance), key=lambda instance: instance.id)
    )
    assert one.instance == Instance("api", "one", "10.0.0.1:80", {"version": "7"}, 3, "east")
    assert reader.services() == ("api", "mail")
    assert one.close()
    assert one.close()
    assert addresses(reader) == ["10.0.0.2:80"]
    with pytest.raises(NotHeld):
        one.update(weight=1)


def test_a_dead_process_is_unlisted_within_its_ttl(
    client: Client, etcd: EtcdProcess, name: str, api: str
) -> None:
    source = """
        import json, sys
        from etcd_recipes import Client
        registry = Client(sys.argv[1], api=sys.argv[-1]).registry(sys.argv[2])
        made = [registry.register("api", address, ttl=2) for address in "abc"]
        print(json.dumps("ready"), flush=True); sys.stdin.readline()
    """
    registry = client.registry(name)
    with (
        child(source, etcd.endpoint, name, api) as process,
        registry.follow("api", confirm=0.5) as guarded,
        registry.follow("api", max_drop=1.0) as view,
    ):
        process.read()
        assert addresses(registry) == ["a", "b", "c"]
        view.wait_for(3, 5)
        guarded.wait_for(3, 5)
        process.signal(signal.SIGKILL)
        eventually(lambda: addresses(registry) == [], 2 + 1.5)
        eventually(lambda: view.instances == (), 1)
        eventually(lambda: guarded.instances == (), 5, "the confirmation")


def test_updates_and_draining_are_seen(client: Client, other: Client, name: str, api: str) -> None:
    registration = client.registry(name).register("api", "old")
    reader = other.registry(name)
    assert registration.update(address="new", metadata={"a": "b"})
    (instance,) = reader.instances("api")
    assert (instance.address, instance.metadata) == ("new", {"a": "b"})
    assert registration.drain()
    assert reader.instances("api") == ()
    assert [i.draining for i in reader.instances("api", draining=True)] == [True]
    with pytest.raises(TypeError, match="colour"):
        registration.update(colour="red")


def test_a_registration_comes_back_after_its_lease_was_revoked_with_the_latest_payload(
    client: Client, other: Client, name: str, api: str
) -> None:
    registration = client.registry(name).register("api", "a", ttl=2)
    registration.update(weight=9)
    revoke(other, client.session(2), api)
    eventually(lambda: other.registry(name).instances("api"), 5, "the healing")
    (instance,) = other.registry(name).instances("api")
    assert instance.weight == 9
    # Others see the key as soon as etcd has it; its owner knows when the reply has come back.
    eventually(lambda: registration.is_published, 5, "the healing to be known")


def test_a_registration_comes_back_after_its_key_was_deleted(
    client: Client, other: Client, name: str, api: str
) -> None:
    client.registry(name).register("api", "a", id="one", ttl=2)
    remove(other, f"{name}/api/one", api)
    eventually(lambda: addresses(other.registry(name)) == ["a"], 4, "the healing")


def test_an_outage_longer_than_the_ttl_is_survived_and_brings_back_nothing_that_was_closed(
    make_client: MakeClient, name: str, server: EtcdProcess, api: str
) -> None:
    client = make_client(server.endpoint, header_timeout=0.3)
    stays = client.registry(name).register("api", "stays", ttl=2)
    goes = client.registry(name).register("api", "goes", ttl=2)
    server.kill()
    eventually(lambda: not stays.is_published and not goes.is_published, 5)
    assert stays.update(weight=5, timeout=0.5) is False
    assert goes.close() is False, "etcd may know the lease yet when it is back"
    server.start()
    reader = make_client(server.endpoint).registry(name)
    eventually(lambda: [i.weight for i in reader.instances("api")] == [5], 10, "the healing")
    assert stays.close()
    assert addresses(reader) == []


def test_a_late_copy_of_a_registration_does_not_outlive_it(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client([proxy.endpoint, etcd.endpoint], header_timeout=0.3, session_ttl=3)
        client.session()
        client._cluster._ring = client._cluster._ring.pin(proxy.endpoint)
        proxy.hold(only={"v3": b"request_put", "v2": b"prevExist=false"}[api])
        registration = client.registry(name).register("api", "a")
        assert proxy.hits == 1
        registration.close()
        assert addresses(client.registry(name)) == []
        proxy.heal()
        eventually(lambda: addresses(client.registry(name)) == ["a"], 5, "the late copy")
        # On v2 nobody refreshes the late copy, so it ends with its ttl.
        soon = 3 / 3 + 2 if api == "v3" else 3 + 2
        eventually(lambda: addresses(client.registry(name)) == [], soon, "the sweeping")
        assert client.session().is_alive


def test_a_new_registration_takes_over_an_id_from_a_dead_one(
    client: Client, other: Client, name: str, api: str
) -> None:
    old = client.registry(name).register("api", "old", id="web-1", ttl=60)
    new = other.registry(name).register("api", "new", id="web-1", ttl=60)
    assert addresses(client.registry(name)) == ["new"]
    old.close()
    assert addresses(client.registry(name)) == ["new"], "an old close removed a new registration"
    new.close()


def test_one_id_twice_in_one_process_is_refused(client: Client, name: str, api: str) -> None:
    client.registry(name).register("api", "a", id="one")
    with pytest.raises(RecipeError, match="already"):
        client.registry(name).register("api", "b", id="one")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"service": ""}, "service name"),
        ({"id": "a/b"}, "'/'"),
        ({"address": ""}, "address"),
        ({"weight": -1}, "weight"),
        ({"ttl": 0}, "ttl"),
    ],
)
def test_bad_arguments_are_refused_with_a_reason(
    client: Client, name: str, arguments: dict[str, object], words: str, api: str
) -> None:
    with pytest.raises(ValueError, match=words):
        client.registry(name).register(**{"service": "api", "address": "a"} | arguments)  # type: ignore[arg-type]


# -- following ---------------------------------------------------------------------------------------


def test_a_view_follows_and_tells_what_changed(
    client: Client, other: Client, name: str, api: str
) -> None:
    with other.registry(name).follow("api") as view:
        assert view.instances == ()
        changes = view.events(timeout=10)
        registration = client.registry(name).register("api", "a", id="one")
        assert [i.address for i in view.wait_for(1, 5)] == ["a"]
        registration.update(weight=2)
        registration.drain()
        eventually(lambda: view.draining)
        registration.close()
        kinds = [next(changes) for _ in range(4)]
        assert [change.kind for change in kinds] == ["added", "updated", "updated", "removed"]
        assert kinds[1].old is not None
        assert (kinds[1].old.weight, kinds[1].new.weight) == (1, 2)  # type: ignore[union-attr]
        eventually(lambda: view.instances == view.draining == ())
        assert view.age < 10
        assert not view.stale


def test_waiting_for_instances_ends_in_time(client: Client, name: str, api: str) -> None:
    with (
        client.registry(name).follow("api") as view,
        pytest.raises(DeadlineExceeded, match="0 of 2"),
    ):
        view.wait_for(2, 0.2)


def test_what_somebody_else_wrote_never_kills_a_view(
    client: Client, other: Client, name: str, api: str
) -> None:
    with other.registry(name).follow("api") as view:
        for key, value in [("junk", "{"), ("junk2", b"\xff"), ("junk3", "[1]"), ("deep/x", "{}")]:
            write(client, f"{name}/api/{key}", value, api)
        write(client, f"{name}/api/odd", '{"address":"b","weight":"heavy","metadata":7}', api)
        client.registry(name).register("api", "a")
        assert sorted(i.address for i in view.wait_for(2, 5)) == ["a", "b"]
    assert len(client.registry(name).instances("api")) == 2


def test_a_view_survives_etcd_and_catches_up(
    make_client: MakeClient, name: str, server: EtcdProcess, api: str
) -> None:
    client = make_client(server.endpoint)
    one = client.registry(name).register("api", "a", id="one", ttl=60)
    view = make_client(server.endpoint, header_timeout=0.3).registry(name).follow("api")
    changes = view.events(timeout=20)
    server.kill()
    eventually(lambda: view.stale)
    assert [i.address for i in view.instances] == ["a"]
    age = view.age
    eventually(lambda: view.age > age)
    server.start()
    client.registry(name).register("api", "b", id="two", ttl=60)
    one.close()
    eventually(lambda: [i.address for i in view.instances] == ["b"], 10)
    assert not view.stale
    assert [next(changes).kind, next(changes).kind] == ["added", "removed"]
    view.close()


def test_a_view_catches_up_over_a_compaction_with_the_difference(
    make_client: MakeClient, etcd: EtcdProcess, name: str, api: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        client = make_client()
        old = client.registry(name).register("api", "old", id="old")
        client.registry(name).register("api", "same", id="same")
        with make_client(proxy.endpoint).registry(name).follow("api") as view:
            changes = view.events(timeout=20)
            proxy.cut()
            eventually(lambda: view.stale)
            old.close()
            client.registry(name).register("api", "new", id="new")
            compact(client, etcd.endpoint)
            proxy.heal()
            eventually(lambda: [i.address for i in view.instances] == ["new", "same"], 10)
            seen = {next(changes).kind, next(changes).kind}
            assert seen == {"added", "removed"}


def test_the_first_list_that_cannot_be_had_is_an_error(
    make_client: MakeClient, name: str, api: str
) -> None:
    client = make_client("http://127.0.0.1:9")
    begun = time.monotonic()
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:9"):
        client.registry(name).follow("api", timeout=0.5)
    in_time(time.monotonic() - begun, 1.5)


def test_picking_spreads_sticks_and_avoids_what_failed(client: Client, name: str, api: str) -> None:
    registry = client.registry(name)
    for number in range(3):
        registry.register("api", f"a{number}", id=f"{number}", weight=number, zone=f"z{number}")
    with registry.follow("api", zone="z1") as view:
        assert [view.pick().address for _ in range(6)] == ["a0", "a1", "a2"] * 2
        assert {view.pick("random").address for _ in range(100)} == {"a0", "a1", "a2"}
        assert {view.pick("weighted").address for _ in range(100)} == {"a1", "a2"}
        assert {view.pick("zone").address for _ in range(5)} == {"a1"}
        assert len({view.pick("sticky", key="user-1").address for _ in range(20)}) == 1
        assert len({view.pick("sticky", key=f"user-{n}").address for n in range(50)}) == 3
        bad = view.instances[0]
        view.report(bad, ok=False)
        assert bad not in [view.pick() for _ in range(10)]
        view.report(bad, ok=True)
        assert bad in [view.pick() for _ in range(10)]
        with pytest.raises(ValueError, match="strategy"):
            view.pick("best")  # type: ignore[arg-type]
    with registry.follow("nothing") as view, pytest.raises(RecipeError, match="nothing"):
        view.pick()


def test_a_closed_client_ends_what_it_followed(
    make_client: MakeClient, name: str, api: str
) -> None:
    client = make_client()
    view = client.registry(name).follow("api")
    reader = Job(lambda: list(view.events()))
    registration = client.registry(name).register("api", "a")
    client.close()
    reader.result(5)
    assert not registration.is_published
    eventually(lambda: not view._thread.is_alive())
