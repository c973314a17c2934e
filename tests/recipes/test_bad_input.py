"""Bad input, over every recipe: which error it gets, that this names the value, and that it says what to do.

A row is a line: what is done, which error it is, and what its text says.
"""

# ruff: noqa: E501 (a table: a row is a line)

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from etcd_recipes import (
    Client,
    LockLost,
    NotHeld,
    RecipeError,
    SessionLost,
)
from tests.tools import Job

NAN, INF = math.nan, math.inf


class Case(NamedTuple):
    """What is done with a client and a fresh name, and what comes of it: an error with `says` in its text."""

    id: str
    act: Callable[[Client, str], object]
    error: type[Exception]
    says: str


MAKE: dict[str, Callable[..., Any]] = {
    "lock": lambda c, name, **more: c.lock(name, **more),
    "read-write lock": lambda c, name, **more: c.rwlock(name, **more),
    "semaphore": lambda c, name, **more: c.semaphore(name, permits=2, **more),
    "election": lambda c, name, **more: c.election(name, **more),
    "barrier": lambda c, name, **more: c.barrier(name, **more),
    "double barrier": lambda c, name, **more: c.double_barrier(name, parties=2, **more),
    "latch": lambda c, name: c.latch(name, count=1),
    "registry": lambda c, name: c.registry(name),
}
WITH_TTL = [kind for kind in MAKE if kind not in ("latch", "registry")]
WITH_TIMEOUT = ["lock", "read-write lock", "semaphore", "double barrier"]
SECONDS = "a number of seconds"


def service(c: Client, name: str) -> Any:
    return c.registry(name).register("api", "10.0.0.7:80")


def closed(thing: Any) -> Any:
    thing.close()
    return thing


def twice(enter: Callable[[], object]) -> None:
    enter()
    enter()


def term_after_resign(c: Client, name: str) -> Any:
    term = c.election(name).campaign("a", timeout=5)
    term.resign()
    return term


def released(hold: Any) -> Any:
    hold.release()
    return hold


def other_count(c: Client, name: str) -> Any:
    c.latch(name, count=2).count_down()
    return c.latch(name, count=3)


def names() -> Iterator[Case]:
    for kind, make in MAKE.items():
        for bad, says in (
            ("", f"{kind} name must not be empty"),
            ("a/", f"{kind} name 'a/' ends with '/'"),
            ("/", f"{kind} name '/' ends with '/'"),
            ("a\0b", rf"{kind} name 'a\\x00b' contains a NUL character"),
        ):
            yield Case(f"{kind} {bad!r}", lambda c, _, m=make, b=bad: m(c, b), ValueError, says)


def times() -> Iterator[Case]:
    for kind in WITH_TTL:
        for bad in (0, -1, NAN):

            def made(c: Client, n: str, kind: str = kind, bad: float = bad) -> object:
                return MAKE[kind](c, n, ttl=bad)

            yield Case(f"{kind} ttl={bad}", made, ValueError, "ttl must be a")
    for kind in WITH_TIMEOUT:
        for bad in (-2, NAN):

            def limited(c: Client, n: str, kind: str = kind, bad: float = bad) -> object:
                return MAKE[kind](c, n, timeout=bad)

            yield Case(f"{kind} timeout={bad}", limited, ValueError, f"timeout must be {SECONDS}")
    for what, call in WAITS.items():
        for bad in (-2, NAN):

            def waits(c: Client, n: str, call: Any = call, bad: float = bad) -> object:
                return call(c, n, bad)

            says = f"timeout must be {SECONDS}, 0 or more, or None; got {bad}"
            yield Case(f"{what} timeout={bad}", waits, ValueError, says)


WAITS: dict[str, Callable[[Client, str, Any], object]] = {
    "lock.acquire": lambda c, n, t: c.lock(n).acquire(timeout=t),
    "lock.holder": lambda c, n, t: c.lock(n).holder(timeout=t),
    "read.acquire": lambda c, n, t: c.rwlock(n).read().acquire(timeout=t),
    "write.acquire": lambda c, n, t: c.rwlock(n).write().acquire(timeout=t),
    "rwlock.holders": lambda c, n, t: c.rwlock(n).holders(timeout=t),
    "semaphore.acquire": lambda c, n, t: c.semaphore(n, permits=1).acquire(timeout=t),
    "semaphore.waiters": lambda c, n, t: c.semaphore(n, permits=1).waiters(timeout=t),
    "campaign": lambda c, n, t: c.election(n).campaign(timeout=t),
    "candidates": lambda c, n, t: c.election(n).candidates(timeout=t),
    "observe": lambda c, n, t: next(c.election(n).observe(timeout=t)),
    "barrier.hold": lambda c, n, t: c.barrier(n).hold(timeout=t),
    "barrier.wait": lambda c, n, t: c.barrier(n).wait(t),
    "barrier.release": lambda c, n, t: c.barrier(n).release(timeout=t),
    "double.enter": lambda c, n, t: c.double_barrier(n, parties=1).enter(t),
    "latch.wait": lambda c, n, t: c.latch(n, count=1).wait(t),
    "latch.count_down": lambda c, n, t: c.latch(n, count=1).count_down(timeout=t),
    "register": lambda c, n, t: c.registry(n).register("api", "a:1", timeout=t),
    "instances": lambda c, n, t: c.registry(n).instances("api", timeout=t),
    "follow": lambda c, n, t: c.registry(n).follow("api", timeout=t),
    "wait_for": lambda c, n, t: c.registry(n).follow("api").wait_for(1, timeout=t),
    "events": lambda c, n, t: next(c.registry(n).follow("api").events(timeout=t)),
    "hold.release": lambda c, n, t: c.lock(n).acquire().release(timeout=t),
    "session": lambda c, n, t: c.session(timeout=t),
}

NUMBERS: dict[str, Callable[[Client, str, Any], object]] = {
    "permits": lambda c, n, x: c.semaphore(n, permits=x),
    "weight": lambda c, n, x: c.semaphore(n, permits=3, weight=x),
    "parties": lambda c, n, x: c.double_barrier(n, parties=x),
    "count": lambda c, n, x: c.latch(n, count=x),
}


def numbers() -> Iterator[Case]:
    for what, make in NUMBERS.items():
        for bad in (0, -1):
            says = rf"{what} .*(at least 1|1 or more); got {bad}"
            yield Case(f"{what}={bad}", lambda c, n, m=make, b=bad: m(c, n, b), ValueError, says)
        for odd in (True, 1.5, "3"):
            says = f"{what} is (a whole number|an int), not"
            yield Case(f"{what}={odd!r}", lambda c, n, m=make, o=odd: m(c, n, o), TypeError, says)


def registry(bad: str, what: str, error: type[Exception], says: str) -> Iterator[Case]:
    for verb in ("register", "instances", "follow"):
        more = ("a:1",) if verb == "register" else ()

        def ask(c: Client, n: str, verb: str = verb, more: Any = more) -> object:
            return getattr(c.registry(n), verb)(bad, *more)

        yield Case(f"{verb} {bad!r}", ask, error, f"{what} .*{says}")


# fmt: off
REFUSED = [
    *names(), *times(), *numbers(),
    *registry("", "service name", ValueError, "must not be empty"),
    *registry("a/", "service name", ValueError, "ends with '/'"),
    *registry("a\0", "service name", ValueError, "NUL"),
    *registry(None, "service name", TypeError, "is a str, not NoneType"),  # type: ignore[arg-type]
    # what makes no sense together, or beside what is there
    Case("a timeout without waiting", lambda c, n: c.lock(n).acquire(False, 1.0), ValueError, "makes no sense with blocking=False"),
    Case("on_busy", lambda c, n: c.exclusive(n, on_busy="maybe"), ValueError, "'skip', 'wait' or 'raise', not 'maybe'"),
    Case("api", lambda c, n: Client(api="v4"), ValueError, "'v3' or 'v2', not 'v4'"),
    Case("session ttl", lambda c, n: Client(session_ttl=-1), ValueError, "ttl must be .* got -1"),
    Case("ttl of a session", lambda c, n: c.session(0), ValueError, "ttl must be .* got 0"),
    Case("more than all permits", lambda c, n: c.semaphore(n, permits=3, weight=4), ValueError, "has 3 permits; 4 can never be had"),
    Case("more than all permits, asked", lambda c, n: c.semaphore(n, permits=3).acquire(weight=4), ValueError, "has 3 permits; 4 can never be had"),
    Case("another count, counted", lambda c, n: other_count(c, n).count_down(), ValueError, "begun with count=2.*here with count=3: give all the same"),
    Case("another count, waited for", lambda c, n: other_count(c, n).wait(1), ValueError, "begun with count=2.*here with count=3: give all the same"),
    Case("who counts is nobody", lambda c, n: c.latch(n, count=1).count_down(""), ValueError, "name of who counts must not be empty"),
    Case("who counts has a slash", lambda c, n: c.latch(n, count=1).count_down("a/b"), ValueError, "no '/' in it; got 'a/b'"),
    Case("who counts is a number", lambda c, n: c.latch(n, count=1).count_down(5), TypeError, "is a str, not int"),
    # elections
    Case("a proposal of bytes", lambda c, n: c.election(n, value=b"x"), TypeError, "proposal is a str, not bytes"),
    Case("a campaign for a number", lambda c, n: c.election(n).campaign(5), TypeError, "proposal is a str, not int"),
    Case("proclaiming a number", lambda c, n: c.election(n).campaign("a").proclaim(5), TypeError, "proposal is a str, not int"),
    Case("proclaiming after resigning", lambda c, n: term_after_resign(c, n).proclaim("b"), LockLost, "is not held any more: it was released"),
    # what is not held, or held already
    Case("releasing a lock that is free", lambda c, n: c.lock(n).release(), NotHeld, "lock .* not held through this object; acquire it first"),
    Case("releasing a read lock that is free", lambda c, n: c.rwlock(n).read().release(), NotHeld, "(to read).*acquire it first"),
    Case("releasing a write lock that is free", lambda c, n: c.rwlock(n).write().release(), NotHeld, "(to write).*acquire it first"),
    Case("releasing a permit that is free", lambda c, n: c.semaphore(n, permits=1).release(), NotHeld, "semaphore .*acquire it first"),
    Case("downgrading what was released", lambda c, n: released(c.rwlock(n).write().acquire()).downgrade(), LockLost, "it was released"),
    Case("sleeping on what was released", lambda c, n: released(c.lock(n).acquire()).sleep(1), LockLost, "it was released"),
    Case("with what was released", lambda c, n: released(c.lock(n).acquire()).__enter__(), LockLost, "it was released"),
    Case("sleeping backwards", lambda c, n: c.lock(n).acquire().sleep(-1), ValueError, f"seconds must be {SECONDS}.*got -1"),
    Case("leaving without entering", lambda c, n: c.double_barrier(n, parties=1).leave(), NotHeld, r"not inside .*enter\(\) it first"),
    Case("aborting without entering", lambda c, n: c.double_barrier(n, parties=1).abort(), NotHeld, r"not inside .*enter\(\) it first"),
    Case("entering twice", lambda c, n: twice(c.double_barrier(n, parties=1).enter), RecipeError, r"inside .* already: leave\(\) it first"),
    # registry and discovery
    Case("no address", lambda c, n: c.registry(n).register("api", ""), ValueError, "address must not be empty"),
    Case("an id with a slash", lambda c, n: c.registry(n).register("api", "a:1", id="x/y"), ValueError, "id 'x/y' contains '/'"),
    Case("an empty id", lambda c, n: c.registry(n).register("api", "a:1", id=""), ValueError, "id must not be empty"),
    Case("an id that is a number", lambda c, n: c.registry(n).register("api", "a:1", id=5), TypeError, "id is a str, not int"),
    Case("one id twice", lambda c, n: twice(lambda: c.registry(n).register("api", "a:1", id="x")), RecipeError, "registered already in this process; close that one first"),
    Case("a negative weight", lambda c, n: c.registry(n).register("api", "a:1", weight=-1), ValueError, "weight is 0 or more.*got -1"),
    Case("metadata of numbers", lambda c, n: c.registry(n).register("api", "a:1", metadata={"a": 1}), TypeError, "metadata maps str to str"),
    Case("updating metadata to numbers", lambda c, n: service(c, n).update(metadata={"a": 1}), TypeError, "metadata maps str to str"),
    Case("registering for no time", lambda c, n: c.registry(n).register("api", "a:1", ttl=0), ValueError, "ttl must be .* got 0"),
    Case("updating what there is not", lambda c, n: service(c, n).update(colour=1), TypeError, "no field 'colour' to update"),
    Case("updating the id", lambda c, n: service(c, n).update(id="x"), TypeError, "no field 'id' to update"),
    Case("updating what was closed", lambda c, n: closed(service(c, n)).update(weight=2), NotHeld, "is closed; register again"),
    Case("draining what was closed", lambda c, n: closed(service(c, n)).drain(), NotHeld, "is closed; register again"),
    Case("waiting on a closed view", lambda c, n: closed(c.registry(n).follow("api")).wait_for(1), RecipeError, "view of 'api' is closed"),
    Case("picking from nothing", lambda c, n: c.registry(n).follow("api").pick(), RecipeError, "no instance of 'api' is known"),
    Case("picking by chance of a typo", lambda c, n: c.registry(n).follow("api").pick("rondom"), ValueError, "one of random, round_robin.*not 'rondom'"),
    # a client that is closed
    Case("a lock of a closed client", lambda c, n: closed(c).lock(n).acquire(), SessionLost, "the client is closed"),
    Case("a campaign of a closed client", lambda c, n: closed(c).election(n).campaign(), SessionLost, "the client is closed"),
    Case("a double barrier of a closed client", lambda c, n: closed(c).double_barrier(n, parties=1).enter(), SessionLost, "the client is closed"),
    Case("a session of a closed client", lambda c, n: closed(c).session(), SessionLost, "the client is closed"),
    # Python's own words, about `namespace + name`
    *(Case(f"{kind} {bad!r}", lambda c, _, m=make, b=bad: m(c, b), TypeError, f"name is a str, not {type(bad).__name__}")
      for kind, make in MAKE.items() for bad in (None, 7)),
    # the namespace alone is taken for the name
    Case("an empty name in a namespace", lambda c, n: Client(namespace="team").lock(""), ValueError, "must not be empty"),
    Case("a namespace that is a number", lambda c, n: Client(namespace=5), TypeError, "namespace is a str, not int"),
    # accepted when made, OverflowError or an EtcdError when used
    Case("ttl=inf", lambda c, n: c.lock(n, ttl=INF), ValueError, "ttl must be .* got inf"),
    Case("ttl=1e300", lambda c, n: c.lock(n, ttl=1e300), ValueError, r"ttl .* got 1e\+300"),
    # Python's own words
    Case("ttl='5'", lambda c, n: c.lock(n, ttl="5"), TypeError, "ttl is a number of seconds, not '5'"),
    Case("timeout='5'", lambda c, n: c.lock(n, timeout="5"), TypeError, "timeout is a number of seconds, not '5'"),
    Case("ctx=5", lambda c, n: c.lock(n).acquire(ctx=5), TypeError, "ctx is a Context, not 5"),
    # sleeps until the hold is lost
    Case("sleeping for None", lambda c, n: c.lock(n).acquire().sleep(None), TypeError, "seconds is a number of seconds, not None"),
    # told by a log line only, when it is too late
    Case("a callback that is none", lambda c, n: c.lock(n).acquire().on_lost(5), TypeError, "callback .* 5 cannot be called"),
    Case("a check that is none", lambda c, n: c.registry(n).register("api", "a:1", check=5), TypeError, "check .* not 5"),
    # published, and then no view lists it: it is not an instance
    Case("an address that is a number", lambda c, n: c.registry(n).register("api", 5), TypeError, "address is a str, not int"),
    Case("updating the address to a number", lambda c, n: service(c, n).update(address=5), TypeError, "address is a str, not int"),
    Case("updating the address to nothing", lambda c, n: service(c, n).update(address=""), ValueError, "address must not be empty"),
    # published, and read by others as something else
    Case("a weight of nan", lambda c, n: c.registry(n).register("api", "a:1", weight=NAN), TypeError, "weight is a whole number, not nan"),
    Case("a weight of 1.5", lambda c, n: c.registry(n).register("api", "a:1", weight=1.5), TypeError, "weight is a whole number, not 1.5"),
    Case("updating to a negative weight", lambda c, n: service(c, n).update(weight=-1), ValueError, "weight is 0 or more.*got -1"),
    Case("updating to a weight of 'x'", lambda c, n: service(c, n).update(weight="x"), TypeError, "weight is a whole number, not 'x'"),
    Case("a zone that is a number", lambda c, n: c.registry(n).register("api", "a:1", zone=5), TypeError, "zone is a str, not int"),
    Case("updating the zone to a number", lambda c, n: service(c, n).update(zone=5), TypeError, "zone is a str, not int"),
    Case("draining='no'", lambda c, n: service(c, n).update(draining="no"), TypeError, "draining is True or False, not 'no'"),
    # errors of Python's own
    Case("a zone of bytes", lambda c, n: c.registry(n).register("api", "a:1", zone=b"z"), TypeError, "zone is a str, not bytes"),
    Case("metadata that is a number", lambda c, n: c.registry(n).register("api", "a:1", metadata=5), TypeError, "metadata maps str to str"),
    Case("metadata that is a str", lambda c, n: c.registry(n).register("api", "a:1", metadata="ab"), TypeError, "metadata maps str to str"),
    Case("a weight of '3'", lambda c, n: c.registry(n).register("api", "a:1", weight="3"), TypeError, "weight is a whole number, not '3'"),
    Case("waiting for '2'", lambda c, n: c.registry(n).follow("api").wait_for("2", timeout=1), TypeError, "n is a whole number, not '2'"),
    Case("picking by a list", lambda c, n: c.registry(n).follow("api").pick(["x"]), ValueError, "one of random"),
    Case("reporting a number", lambda c, n: c.registry(n).follow("api").report(5, ok=False), TypeError, "Instance, not 5"),
    # no error at all, and nothing is registered, nobody campaigns
    Case("a registration of a closed client", lambda c, n: closed(c).registry(n).register("api", "a:1"), SessionLost, "the client is closed"),
    # waits for the whole default timeout, for a thread that has ended
    Case("a view of a closed client", lambda c, n: closed(c).registry(n).follow("api"), SessionLost, "the client is closed"),
]
# fmt: on


def refuse(case: Case, client: Client, name: str, patience: float) -> None:
    with pytest.raises(case.error) as raised:
        Job(lambda: case.act(client, name)).result(
            patience
        )  # on a thread: a hang is an answer, too
    assert re.search(case.says, str(raised.value)), str(raised.value)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_bad_input_is_refused_in_words_that_help(case: Case, client: Client, name: str) -> None:
    refuse(case, client, name, 10.0)
