"""What an observer is told: every leader there was, in order, whatever happens to the connection."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing

import pytest

from etcd_recipes import Cancelled, Client
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.tools import Job, eventually

MakeClient = Callable[..., Client]


def observe(client: Client, name: str, timeout: float = 20.0) -> Generator[str | None, None, None]:
    """Give the proposal of whoever leads."""
    for leader in client.election(name).observe(timeout=timeout):
        yield None if leader is None else leader.value


def lead(client: Client, name: str, value: str) -> None:
    with client.election(name).campaign(value, timeout=20):
        pass


def forget(client: Client, name: str, api: str) -> None:
    """Have etcd forget the history up to now: compact it, or on v2 push it out with a thousand writes."""
    if api == "v3":
        revision = client.v3.kv.put(f"{name}-elsewhere", "x").revision
        client.v3.kv.compact(revision)
    else:
        for number in range(1010):
            client.v2.keys.set(f"{name}-elsewhere", str(number))


def test_an_observer_sees_all_of_50_quick_terms_however_slow_it_is(
    make_client: MakeClient, client: Client, name: str
) -> None:
    slow = observe(client, name)
    assert next(slow) is None
    terms: dict[int, str] = {}

    def work(candidate: Client, who: str) -> None:
        for number in range(25):
            value = f"{who}{number}"
            with candidate.election(name).campaign(value, timeout=30) as term:
                terms[term._entry.created] = value

    with closing(observe(client, name)) as quick:
        assert next(quick) is None
        jobs = [Job(lambda w=who: work(make_client(), w)) for who in "ab"]
        in_order: list[str] = []
        while len(in_order) < 50:
            in_order.extend(value for value in [next(quick)] if value is not None)
    for job in jobs:
        job.result(30)
    assert in_order == [terms[created] for created in sorted(terms)]
    late = (value for value in slow if value is not None)
    assert [next(late) for _ in range(50)] == in_order
    assert next(slow) is None, "nobody leads in the end"


def test_after_lost_history_an_observer_goes_on_with_what_is_now(
    client: Client, other: Client, name: str, api: str
) -> None:
    seen = observe(client, name)
    assert next(seen) is None
    lead(other, name, "forgotten")
    with other.election(name).campaign("present", timeout=5) as term:
        forget(other, name, api)
        assert next(seen) == "present"
        forget(other, name, api)  # in the middle of a watch that is quiet
        term.proclaim("later")
        assert next(seen) == "later"
    assert next(seen) is None


def test_an_observer_misses_nothing_when_its_connections_are_cut(
    client: Client, make_client: MakeClient, etcd: EtcdProcess, name: str
) -> None:
    with FaultProxy(etcd.endpoint) as proxy:
        seen: list[str | None] = []
        observer = make_client(proxy.endpoint)
        job = Job(lambda: seen.extend(observe(observer, name)))
        eventually(lambda: seen == [None])
        for number in range(3):
            proxy.refuse()  # cuts what is open, too
            lead(client, name, f"{number}a")
            lead(client, name, f"{number}b")
            before = len(seen)
            proxy.heal()
            eventually(lambda n=before: len(seen) == n + 4)
        assert seen == [None, *(v for n in range(3) for v in (f"{n}a", None, f"{n}b", None))]
        observer.close()
        with pytest.raises(Cancelled, match="client was closed"):
            job.result()


@pytest.mark.only_v3
def test_an_observer_goes_on_when_the_server_was_killed_and_is_back(
    server: EtcdProcess, name: str
) -> None:
    with (
        Client(server.endpoint) as v3,
        Client(server.endpoint, api="v2") as v2,
    ):  # one kill for both
        observers = [observe(client, name) for client in (v3, v2)]
        terms = [client.election(name).campaign("a", timeout=5) for client in (v3, v2)]
        assert [next(seen) for seen in observers] == ["a", "a"]
        coming = [Job(lambda seen=seen: next(seen)) for seen in observers]
        server.kill()
        server.start()
        for term in terms:
            term.proclaim("a2")
        assert [job.result() for job in coming] == ["a2", "a2"]
        for term in terms:
            term.resign()
        assert [next(seen) for seen in observers] == [None, None]
