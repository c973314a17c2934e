"""Bad input: the exact error in etcd's own words, or a TypeError or ValueError with nothing sent; and nothing
written, on both servers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest

from etcd_recipes import (
    Client,
    Compacted,
    EtcdError,
    FutureRevision,
    KeyNotFound,
    LeaseNotFound,
    NoSpace,
    RequestTooLarge,
)
from etcd_recipes.core.v3 import Compare, Op, Txn
from etcd_recipes.core.v3.api import V3
from etcd_recipes.testing import EtcdProcess
from tests.core.servers import Server, always, answer
from tests.versions import SERVERS, binary_of

NOBODY = 0x4711
MIB = 1024 * 1024
FUTURE = 10**9

NO_KEY = (EtcdError, 3, "etcdserver: key is not provided")
NO_LEASE = (LeaseNotFound, 5, "etcdserver: requested lease not found")
TOO_LARGE = (RequestTooLarge, 3, "etcdserver: request is too large")
TOO_MANY = (EtcdError, 3, "etcdserver: too many operations in txn request")
TWICE = (EtcdError, 3, "etcdserver: duplicate key given in txn request")
FORGOTTEN = (Compacted, 11, "etcdserver: mvcc: required revision has been compacted")
NOT_YET = (FutureRevision, 11, "etcdserver: mvcc: required revision is a future revision")
KEYLESS = (KeyNotFound, 3, "etcdserver: key not found")


def revision(v3: V3) -> int:
    return v3.kv.range("\0", count_only=True).revision


@contextmanager
def nothing_written(v3: V3) -> Iterator[None]:
    before = revision(v3)
    yield
    assert revision(v3) == before


def puts(count: int) -> list[Op]:
    return [Op.put(f"many/{number}", "v") for number in range(count)]


# -- what etcd refuses ---------------------------------------------------------------------------------------

Call = Callable[[V3], object]
GOOD = Op.put("half", "sent")

REFUSED: dict[str, tuple[Call, tuple[type[EtcdError], int, str]]] = {
    # a key that is none
    "get of no key": (lambda v3: v3.kv.get(""), NO_KEY),
    "range from no key": (lambda v3: v3.kv.range("", "z"), NO_KEY),
    "put of no key": (lambda v3: v3.kv.put("", "v"), NO_KEY),
    "delete of no key": (lambda v3: v3.kv.delete(b""), NO_KEY),
    "delete from no key": (lambda v3: v3.kv.delete("", "z"), NO_KEY),
    "txn that puts no key": (lambda v3: v3.kv.txn([], [GOOD, Op.put("", "v")]), NO_KEY),
    "txn that gets no key": (lambda v3: v3.kv.txn([], [GOOD, Op.get("")]), NO_KEY),
    "txn that deletes no key": (lambda v3: v3.kv.txn([], [GOOD], [Op.delete("")]), NO_KEY),
    "txn that compares no key": (
        lambda v3: v3.kv.txn([Compare.version("") == 0], [GOOD]),
        NO_KEY,
    ),
    "txn that only compares no key": (lambda v3: v3.kv.txn([Compare.version("") == 0]), NO_KEY),
    "nested txn without a key": (
        lambda v3: v3.kv.txn([], [GOOD, Op.txn([], [Op.get("")])]),
        NO_KEY,
    ),
    # too much
    "put of 1.5 MiB": (lambda v3: v3.kv.put("big", "x" * (3 * MIB // 2)), TOO_LARGE),
    "txn of 1.5 MiB": (
        lambda v3: v3.kv.txn([], [Op.put(f"big/{n}", "x" * (MIB // 2)) for n in range(3)]),
        TOO_LARGE,
    ),
    "129 operations": (lambda v3: v3.kv.txn([], puts(129)), TOO_MANY),
    "129 operations for nothing": (lambda v3: v3.kv.txn([], [GOOD], puts(129)), TOO_MANY),
    "129 comparisons": (
        lambda v3: v3.kv.txn([Compare.version("half") == 0] * 129, [GOOD]),
        TOO_MANY,
    ),
    "100 operations and 29 nested": (
        lambda v3: v3.kv.txn([], [*puts(100), Op.txn([], [Op.get("n")] * 29)]),
        TOO_MANY,
    ),
    # twice
    "a key put twice": (lambda v3: v3.kv.txn([], [GOOD, Op.put("half", "again")]), TWICE),
    "a key put and deleted": (lambda v3: v3.kv.txn([], [GOOD, Op.delete("half")]), TWICE),
    "a key put and in a range deleted": (
        lambda v3: v3.kv.txn([], [GOOD, Op.delete("h", prefix=True)]),
        TWICE,
    ),
    "a key put twice in a nest": (lambda v3: v3.kv.txn([], [GOOD, Op.txn([], [GOOD])]), TWICE),
    # leases that are not there
    "put with no lease": (lambda v3: v3.kv.put("half", "v", lease=NOBODY), NO_LEASE),
    "put with a negative lease": (lambda v3: v3.kv.put("half", "v", lease=-5), NO_LEASE),
    "txn with no lease": (
        lambda v3: v3.kv.txn([], [GOOD, Op.put("other", "v", lease=NOBODY)]),
        NO_LEASE,
    ),
    "revoke of no lease": (lambda v3: v3.lease.revoke(NOBODY), NO_LEASE),
    "revoke of lease 0": (lambda v3: v3.lease.revoke(0), NO_LEASE),
    "revoke of a negative lease": (lambda v3: v3.lease.revoke(-5), NO_LEASE),
    "keepalive of no lease": (lambda v3: v3.lease.keep_alive_once(NOBODY), NO_LEASE),
    "keepalive of lease 0": (lambda v3: v3.lease.keep_alive_once(0), NO_LEASE),
    "keepalive of a negative lease": (lambda v3: v3.lease.keep_alive_once(-(2**63)), NO_LEASE),
    "a ttl that is too large": (
        lambda v3: v3.lease.grant(9_000_000_001),
        (EtcdError, 11, "etcdserver: too large lease TTL"),
    ),
    # revisions that are not there
    "get of the forgotten": (lambda v3: v3.kv.get("k", revision=1), FORGOTTEN),
    "range of the forgotten": (lambda v3: v3.kv.range("k", "l", revision=1), FORGOTTEN),
    "pages of the forgotten": (lambda v3: list(v3.kv.pages("k", revision=1)), FORGOTTEN),
    "txn that reads the forgotten": (
        lambda v3: v3.kv.txn([], [GOOD, Op.get("k", revision=1)]),
        FORGOTTEN,
    ),
    "compaction of the forgotten": (lambda v3: v3.kv.compact(1), FORGOTTEN),
    "get of the future": (lambda v3: v3.kv.get("k", revision=FUTURE), NOT_YET),
    "range of the future": (lambda v3: v3.kv.range("k", "l", revision=FUTURE), NOT_YET),
    "pages of the future": (lambda v3: list(v3.kv.pages("k", revision=FUTURE)), NOT_YET),
    "txn that reads the future": (
        lambda v3: v3.kv.txn([], [GOOD, Op.get("k", revision=FUTURE)]),
        NOT_YET,
    ),
    "compaction of the future": (lambda v3: v3.kv.compact(FUTURE), NOT_YET),
    "physical compaction of the future": (
        lambda v3: v3.kv.compact(2**63 - 1, physical=True),
        NOT_YET,
    ),
    # what should be kept is not there
    "the value kept of no key": (lambda v3: v3.kv.put("none", ignore_value=True), KEYLESS),
    "the lease kept of no key": (lambda v3: v3.kv.put("none", "v", ignore_lease=True), KEYLESS),
    "the value kept of no key in a txn": (
        lambda v3: v3.kv.txn([], [GOOD, Op.put("none", ignore_value=True)]),
        KEYLESS,
    ),
}


@pytest.fixture(scope="module")
def forgetful(server: EtcdProcess) -> V3:
    """A server that has forgotten its first revision."""
    with Client(server.endpoint) as client:
        client.v3.kv.put("forgotten", "1")
        client.v3.kv.compact(client.v3.kv.put("forgotten", "2").revision)
    return client.v3


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("what", REFUSED)
def test_what_etcd_refuses_is_raised_in_its_words_and_nothing_is_written(
    v3: V3, server: EtcdProcess, what: str
) -> None:
    call, (kind, code, words) = REFUSED[what]
    with nothing_written(v3), pytest.raises(EtcdError) as raised:
        call(v3)
    assert type(raised.value) is kind
    assert (raised.value.code, raised.value.message) == (code, words)
    assert raised.value.endpoint == server.endpoint
    assert v3.kv.get("half") is None


def test_what_is_too_large_for_the_way_there_is_the_same_error(v3: V3) -> None:
    for size in (3_000_000, 2 * MIB):
        with nothing_written(v3), pytest.raises(RequestTooLarge) as raised:
            v3.kv.put("big", "x" * size)
        assert raised.value.code == 8
        assert raised.value.message.startswith("grpc: received message larger than max (")


def test_what_is_just_not_too_much_is_written(v3: V3, name: str) -> None:
    v3.kv.put(name, "x" * (3 * MIB // 2 - 100))
    assert v3.kv.txn([], puts(128)).succeeded
    assert v3.kv.txn([], puts(100), puts(100)).succeeded
    v3.kv.delete(name)
    assert v3.kv.delete("many/", prefix=True).deleted == 128


@pytest.fixture(params=list(SERVERS))
def small(request: pytest.FixtureRequest) -> Iterator[EtcdProcess]:
    """A server that is soon full."""
    little = ["--quota-backend-bytes", str(2 * MIB)]
    with EtcdProcess(binary=binary_of(request.param), extra_args=little) as process:
        yield process


def test_a_full_database_takes_no_writes_and_goes_on_reading(small: EtcdProcess) -> None:
    with Client(small.endpoint) as client:
        v3 = client.v3
        with pytest.raises(NoSpace) as raised:
            for number in range(10):
                v3.kv.put(f"much/{number}", "x" * MIB)
        words = "etcdserver: mvcc: database space exceeded"
        assert (raised.value.code, raised.value.message) == (8, words)
        with nothing_written(v3), pytest.raises(NoSpace):
            v3.kv.txn([], [GOOD])
        assert v3.kv.range("much/", prefix=True, count_only=True).count > 0
        assert v3.kv.delete("much/", prefix=True).deleted > 0  # which is the way out


# -- what is not even sent -----------------------------------------------------------------------------------


class Odd:
    """No str, no bytes, no number."""


HUGE = 2**63
WRONG_BYTES = (None, 7, True, 1.5, bytearray(b"k"), memoryview(b"k"), ["k"], Odd())
WRONG_NUMBERS = (None, "7", b"7", 7.0, True, Decimal(7), Odd())

BYTES: dict[str, Callable[[V3, object], object]] = {
    "get": lambda v3, x: v3.kv.get(x),
    "range": lambda v3, x: v3.kv.range(x),
    "prefix": lambda v3, x: v3.kv.range(x, prefix=True),
    "pages": lambda v3, x: v3.kv.pages(x),
    "scan": lambda v3, x: v3.kv.scan(x),
    "put": lambda v3, x: v3.kv.put(x, "v"),
    "value": lambda v3, x: v3.kv.put("k", x),
    "delete": lambda v3, x: v3.kv.delete(x),
    "compare": lambda v3, x: v3.kv.txn([Compare.version(x) == 0]),
    "compared value": lambda v3, x: v3.kv.txn([Compare.value("k") == x]),
    "op": lambda v3, x: v3.kv.txn([], [Op.put(x, "v")]),
    "op value": lambda v3, x: v3.kv.txn([], [Op.put("k", x)]),
}
ENDS: dict[str, Callable[[V3, object], object]] = {
    "range": lambda v3, x: v3.kv.range("k", x),
    "pages": lambda v3, x: v3.kv.pages("k", x),
    "scan": lambda v3, x: v3.kv.scan("k", x),
    "delete": lambda v3, x: v3.kv.delete("k", x),
    "compare": lambda v3, x: Compare.version("k", x),
    "op": lambda v3, x: Op.delete("k", x),
}
NUMBERS: dict[str, tuple[Callable[[V3, object], object], int]] = {
    # with the least number that is none
    "limit": (lambda v3, x: v3.kv.range("k", limit=x), -1),
    "revision": (lambda v3, x: v3.kv.range("k", revision=x), -1),
    "revision of a get": (lambda v3, x: v3.kv.get("k", revision=x), -1),
    "revision of pages": (lambda v3, x: v3.kv.pages("k", revision=x), -1),
    "page size": (lambda v3, x: v3.kv.pages("k", page_size=x), 0),
    "page size of a scan": (lambda v3, x: v3.kv.scan("k", page_size=x), 0),
    "min mod": (lambda v3, x: v3.kv.range("k", min_mod_revision=x), -1),
    "max mod": (lambda v3, x: v3.kv.range("k", max_mod_revision=x), -1),
    "min create": (lambda v3, x: v3.kv.range("k", min_create_revision=x), -1),
    "max create": (lambda v3, x: v3.kv.range("k", max_create_revision=x), -1),
    "lease of a put": (lambda v3, x: v3.kv.put("k", "v", lease=x), -(2**63) - 1),
    "compared revision": (lambda v3, x: v3.kv.txn([Compare.version("k") > x]), -(2**63) - 1),
    "compact": (lambda v3, x: v3.kv.compact(x), 0),
    "lease": (lambda v3, x: v3.lease.revoke(x), -(2**63) - 1),
    "lease kept": (lambda v3, x: v3.lease.keep_alive_once(x), -(2**63) - 1),
    "lease looked at": (lambda v3, x: v3.lease.time_to_live(x), -(2**63) - 1),
    "granted id": (lambda v3, x: v3.lease.grant(60, id=x), -1),
}
SENSELESS: dict[str, Callable[[V3], object]] = {
    "a value to be ignored": lambda v3: v3.kv.put("k", "v", ignore_value=True),
    "a lease to be ignored": lambda v3: v3.kv.put("k", "v", lease=7, ignore_lease=True),
    "a count that is not filtered": lambda v3: v3.kv.range(
        "k", prefix=True, count_only=True, min_mod_revision=7
    ),
    "an order that is none": lambda v3: v3.kv.range("k", sort_by="NAME"),
    "a range with two ends": lambda v3: v3.kv.range("k", "l", prefix=True),
    "a delete with two ends": lambda v3: v3.kv.delete("k", "l", prefix=True),
    "pages with two ends": lambda v3: v3.kv.pages("k", "l", prefix=True),
    "a time that has passed": lambda v3: v3.kv.get("k", timeout=-1),
    "a time of pages that has passed": lambda v3: v3.kv.pages("k", timeout=-1),
    "a nest without a floor": lambda v3: v3.kv.txn([], [deep(3000)]),
}


def deep(levels: int) -> Op:
    op = Op.put("k", "v")
    for _ in range(levels):
        op = Op.txn([], [op])
    return op


@pytest.fixture
def unspoken_to() -> Iterator[V3]:
    """The API of a server that must not be asked anything."""
    with Server(always(answer(b"{}"))) as server:
        with Client(server.endpoint) as client:
            yield client.v3
        assert server.accepted == 0, "something was sent"


@pytest.mark.parametrize("where", BYTES)
def test_what_is_neither_text_nor_bytes_is_not_sent(unspoken_to: V3, where: str) -> None:
    for wrong in WRONG_BYTES:
        with pytest.raises(TypeError, match=r"str or bytes, not \w+"):
            BYTES[where](unspoken_to, wrong)
    if where != "compared value":
        with pytest.raises(ValueError, match=r"text that UTF-8 can hold"):
            BYTES[where](unspoken_to, "k\ud800")


@pytest.mark.parametrize("where", ENDS)
def test_an_end_that_is_neither_text_nor_bytes_is_not_sent(unspoken_to: V3, where: str) -> None:
    for wrong in WRONG_BYTES[1:]:
        with pytest.raises(TypeError, match="range_end is str or bytes"):
            ENDS[where](unspoken_to, wrong)


@pytest.mark.parametrize("where", NUMBERS)
def test_a_number_that_is_none_or_that_etcd_cannot_hold_is_not_sent(
    unspoken_to: V3, where: str
) -> None:
    call, too_little = NUMBERS[where]
    for wrong in WRONG_NUMBERS:
        with pytest.raises(TypeError, match=r"int, not \w+"):
            call(unspoken_to, wrong)
    for number in (too_little, HUGE, -HUGE - 1, 10**100):
        with pytest.raises(ValueError, match=rf"below 2\*\*63, not {number}"):
            call(unspoken_to, number)


@pytest.mark.parametrize("what", SENSELESS)
def test_what_makes_no_sense_is_not_sent(unspoken_to: V3, what: str) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        SENSELESS[what](unspoken_to)


@pytest.mark.parametrize("ttl", [0, -1, -0.5, float("nan"), float("inf"), 1e300, 2**63])
def test_a_ttl_that_no_lease_has_is_not_sent(unspoken_to: V3, ttl: float) -> None:
    with pytest.raises(ValueError, match="a ttl is"):
        unspoken_to.lease.grant(ttl)


@pytest.mark.parametrize("ttl", [None, "60", True, b"6", Decimal(60), Odd()])
def test_a_ttl_that_is_no_number_is_not_sent(unspoken_to: V3, ttl: object) -> None:
    with pytest.raises(TypeError, match="a ttl is a number of seconds, not"):
        unspoken_to.lease.grant(ttl)


@pytest.mark.parametrize(
    "parts",
    [
        ([True],),
        (Compare.version("k") == 0,),
        ([Compare.version("k")],),
        (None,),
        ([], Op.get("k")),
        ([], ["get"]),
        ([], [], [None]),
        ([], None),
        (Txn(), [Op.get("k")]),
    ],
    ids=repr,
)
def test_what_is_no_transaction_is_not_sent(unspoken_to: V3, parts: tuple[object, ...]) -> None:
    with pytest.raises(TypeError, match=r"compare|success|failure|built"):
        unspoken_to.kv.txn(*parts)


def test_text_with_bytes_in_it_is_sent_as_those_bytes(v3: V3, name: str) -> None:
    """As file names come from the system: what was bytes stays the same bytes."""
    v3.kv.put(f"{name}/\udcff", "v\udcfe")
    kv = v3.kv.get(name.encode() + b"/\xff")
    assert kv is not None
    assert kv.value == b"v\xfe"
