"""SRV discovery against a small DNS server."""

from __future__ import annotations

import builtins
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from etcd_recipes import Cancelled, ClusterError, Context, DeadlineExceeded, MissingDependency
from etcd_recipes.core.srv import discover
from tests.core.calls import Call, within


class Names:
    """A DNS server on a free UDP port; `records` maps a name to SRV records, None to silence."""

    def __init__(self) -> None:
        self.records: dict[str, list[str] | None] = {}
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self._closing = threading.Event()
        self.resolver = dns.resolver.Resolver(configure=False)
        self.resolver.nameservers = ["127.0.0.1"]
        self.resolver.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                data, sender = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            reply = self._answer(dns.message.from_wire(data))
            if reply is not None:
                self._socket.sendto(reply.to_wire(), sender)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        name = query.question[0].name.to_text(omit_final_dot=True)
        self.asked.append(name)
        found = self.records.get(name, [])
        if found is None:
            return None
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if found:
            reply.answer.append(dns.rrset.from_text(name + ".", 60, "IN", "SRV", *found))
        else:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply

    def close(self) -> None:
        self._closing.set()
        self._thread.join(5.0)
        self._socket.close()


@pytest.fixture
def names() -> Iterator[Names]:
    names = Names()
    yield names
    names.close()


def find(names: Names, **options: Any) -> tuple[str, ...]:
    return discover("example.com", resolver=names.resolver, **options)


def test_those_with_tls_come_first_and_names_lose_their_dot(names: Names) -> None:
    names.records = {
        "_etcd-client-ssl._tcp.example.com": ["10 1 2379 a.example.com."],
        "_etcd-client._tcp.example.com": ["1 1 2380 b.example.com."],
    }
    assert find(names) == ("https://a.example.com:2379", "http://b.example.com:2380")
    assert names.asked == ["_etcd-client-ssl._tcp.example.com", "_etcd-client._tcp.example.com"]


@pytest.mark.parametrize(("kind", "scheme"), [("-ssl", "https"), ("", "http")])
def test_one_of_the_two_is_enough(names: Names, kind: str, scheme: str) -> None:
    names.records = {f"_etcd-client{kind}._tcp.example.com": ["0 0 2379 a."]}
    assert find(names) == (f"{scheme}://a:2379",)


def test_lower_priorities_come_first_and_weights_share(names: Names) -> None:
    names.records = {
        "_etcd-client._tcp.example.com": [
            "20 1 1 last.",
            "10 9 1 heavy.",
            "10 1 1 light.",
            "5 1 1 first.",
        ]
    }
    found = [find(names) for _ in range(40)]
    assert {(each[0], each[3]) for each in found} == {("http://first:1", "http://last:1")}
    second = Counter(each[1] for each in found)
    assert second["http://heavy:1"] > second["http://light:1"]


def test_a_service_name_is_part_of_the_question(names: Names) -> None:
    names.records = {"_etcd-client-blue._tcp.example.com": ["0 0 1 a."]}
    assert find(names, service="blue") == ("http://a:1",)


def test_without_records_both_questions_are_in_the_error(names: Names) -> None:
    with pytest.raises(ClusterError, match=r"example\.com") as raised:
        find(names)
    assert [error.endpoint for error in raised.value.errors] == [
        "_etcd-client-ssl._tcp.example.com",
        "_etcd-client._tcp.example.com",
    ]
    assert not raised.value.maybe_applied


def test_a_silent_server_costs_the_time_given(names: Names) -> None:
    names.records = {"_etcd-client-ssl._tcp.example.com": None}
    with within(1.0), pytest.raises((DeadlineExceeded, ClusterError)):
        find(names, timeout=0.2)


def test_a_cancel_ends_it_at_once(names: Names) -> None:
    names.records = {"_etcd-client-ssl._tcp.example.com": None}
    ctx = Context(1.5)
    call = Call(lambda: find(names, ctx=ctx))
    with within(0.5):
        ctx.cancel()
        assert isinstance(call.error(), Cancelled)


@pytest.mark.parametrize("domain", ["", "."])
def test_no_domain_is_a_value_error(domain: str) -> None:
    with pytest.raises(ValueError, match="domain"):
        discover(domain)


@pytest.mark.parametrize("domain", ["a..b", "x" * 70, "é" * 300])
def test_a_name_that_is_none_is_an_error_of_the_library(names: Names, domain: str) -> None:
    with pytest.raises(ClusterError):
        discover(domain, resolver=names.resolver)


def test_without_dnspython_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("dns"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependency, match=r"etcd-recipes\[srv\]") as raised:
        discover("example.com")
    assert isinstance(raised.value, ImportError)
