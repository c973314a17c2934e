"""A signal that ends the program frees what it holds: real processes, real signals."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from etcd_recipes import Client, exit_on_signals
from etcd_recipes.testing import EtcdProcess
from tests.tools import QUICK, child, eventually, waits_in_the_kernel

TTL = "30"  # so that nothing is free by itself while a test looks

PROGRAM = """
    import json, os, signal, sys, threading, time
    from etcd_recipes import Client, Context, exit_on_signals
    endpoint, api, name, ttl = sys.argv[1:5]
    exit_on_signals()
    client = Client(endpoint, api=api, session_ttl=float(ttl))

    def ready():
        print(json.dumps("ready"), flush=True)
"""

HOLDERS = {
    "asleep": "time.sleep(60)",
    "in hold.sleep": "hold.sleep(60)",
    "waiting for another lock": "client.lock(name + '-busy').acquire()",
    "in a context's wait": "Context().wait(60)",
    "joining a thread": "t = threading.Thread(target=time.sleep, args=(60,), daemon=True); t.start(); t.join()",
    "at work": "while True: sum(range(1000))",
}


@pytest.fixture
def api() -> str:
    return "v3"


@pytest.fixture
def client(etcd: EtcdProcess, api: str) -> Iterator[Client]:
    with Client(etcd.endpoint, api=api) as client:  # type: ignore[arg-type]
        yield client


def is_free(client: Client, name: str) -> Callable[[], bool]:
    return lambda: not client.lock(name).locked()


CASES = [(doing, signal.SIGTERM, "v3") for doing in HOLDERS]
CASES += [("asleep", signal.SIGHUP, "v3"), ("waiting for another lock", signal.SIGTERM, "v2")]


@pytest.mark.parametrize(
    ("doing", "number", "api"), CASES, ids=[f"{d}-{n.name}-{a}" for d, n, a in CASES]
)
def test_the_lock_is_free_within_a_second(
    doing: str, number: int, client: Client, etcd: EtcdProcess, api: str
) -> None:
    name = f"signals-{api}-{list(HOLDERS).index(doing)}-{number}"
    program = f"{PROGRAM}\n    with client.lock(name) as hold:\n        ready()\n        {HOLDERS[doing]}\n"
    with client.lock(f"{name}-busy"), child(program, etcd.endpoint, api, name, TTL) as holder:
        holder.read()
        assert client.lock(name).locked()
        if doing.startswith("waiting"):
            eventually(lambda: client.lock(f"{name}-busy").waiters())
        holder.signal(number)
        eventually(is_free(client, name), timeout=1.0, what="the release")
        assert holder.wait(5.0) == 128 + number
        assert not client.lock(f"{name}-busy").waiters()


def test_a_hold_without_a_with_block_is_revoked_as_well(
    client: Client, etcd: EtcdProcess, api: str
) -> None:
    name = f"signals-{api}-bare"
    program = (
        f"{PROGRAM}\n    hold = client.lock(name).acquire()\n    ready()\n    time.sleep(60)\n"
    )
    with child(program, etcd.endpoint, api, name, TTL) as holder:
        holder.read()
        holder.signal(signal.SIGTERM)
        eventually(is_free(client, name), timeout=1.0, what="the revocation")
        assert holder.wait(5.0) == 143


def test_a_signal_ends_a_call_that_is_in_flight() -> None:
    """The server is stopped, and the call would wait for a minute."""
    program = f"""{PROGRAM}
    client = Client(endpoint, header_timeout=None, default_timeout=60.0)
    client.v3.kv.get("a")
    ready()
    sys.stdin.readline()
    ready()
    client.v3.kv.get("a")
    """
    with EtcdProcess(**QUICK) as server, child(program, server.endpoint, "v3", "x", TTL) as caller:
        caller.read()
        server.pause()
        caller.say()
        caller.read()
        eventually(lambda: waits_in_the_kernel(caller.pid))
        caller.signal(signal.SIGTERM)
        assert caller.wait(1.5) == 143


def test_a_signal_ends_a_held_lock_soon_when_etcd_is_dead() -> None:
    """Neither the release nor the revocation waits for as long as it would while the program goes on."""
    program = f"""{PROGRAM}
    client = Client(endpoint, session_ttl=30.0, header_timeout=None)
    with client.lock(name) as hold:
        ready()
        hold.sleep(60)
    """
    with EtcdProcess(**QUICK) as server, child(program, server.endpoint, "v3", "x", TTL) as holder:
        holder.read()
        server.pause()
        holder.signal(signal.SIGTERM)
        assert (
            holder.wait(2.0 + 1.0) == 143
        )  # a second for each, and one for the interpreter's own end


def test_a_signal_that_breaks_into_a_close_does_not_leave_the_lease_behind(
    client: Client, etcd: EtcdProcess, api: str
) -> None:
    program = f"""{PROGRAM}
    hold = client.lock(name).acquire()
    ready()
    grant = hold.session.grant
    close = type(grant).close

    def interrupted(self, ctx):
        type(grant).close = close
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    type(grant).close = interrupted
    client.close()
    """
    with child(program, etcd.endpoint, api, "signals-close", TTL) as holder:
        holder.read()
        assert holder.wait(5.0) == 143
    eventually(is_free(client, "signals-close"), timeout=1.0)


def test_a_second_signal_kills_at_once(etcd: EtcdProcess) -> None:
    program = f"""{PROGRAM}
    try:
        ready()
        time.sleep(60)
    finally:
        ready()
        time.sleep(60)     # a clean-up that hangs
    """
    with child(program, etcd.endpoint, "v3", "x", TTL) as stubborn:
        stubborn.read()
        stubborn.signal(signal.SIGTERM)
        stubborn.read()
        stubborn.signal(signal.SIGHUP)  # whichever of them
        assert stubborn.wait(2.0) == -signal.SIGHUP


def test_nothing_is_installed_by_an_import(etcd: EtcdProcess) -> None:
    program = """
    import json, signal, etcd_recipes
    print(json.dumps([signal.getsignal(n) is signal.SIG_DFL for n in (signal.SIGTERM, signal.SIGHUP)]))
    """
    with child(program) as process:
        assert process.read() == [True, True]


# -- in this process ---------------------------------------------------------------------------------------


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def test_it_says_which_signals_it_took(handlers: None) -> None:
    assert exit_on_signals() == (signal.SIGTERM, signal.SIGHUP)
    assert exit_on_signals() == (signal.SIGTERM, signal.SIGHUP)  # again is as well
    assert exit_on_signals(signal.SIGUSR1, signal.SIGUSR1) == (signal.SIGUSR1,)


def test_a_handler_of_somebody_elses_stays_and_so_does_an_ignored_signal(handlers: None) -> None:
    signal.signal(signal.SIGTERM, lambda *_: None)
    theirs = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert exit_on_signals() == ()
    assert signal.getsignal(signal.SIGTERM) is theirs
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_ctrl_c_is_taken_when_it_is_asked_for(handlers: None) -> None:
    assert exit_on_signals(signal.SIGINT) == (signal.SIGINT,)
    with pytest.raises(SystemExit) as raised:
        os.kill(os.getpid(), signal.SIGINT)
    assert raised.value.code == 130
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_outside_the_main_thread_it_is_a_value_error(handlers: None) -> None:
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            exit_on_signals()
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert "must be called in the main thread" in str(errors[0])


@pytest.mark.parametrize(
    ("number", "sentence"), [(signal.SIGKILL, "cannot be handled"), (9999, "is not a signal")]
)
def test_a_signal_that_cannot_be_handled_is_a_value_error(
    handlers: None, number: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        exit_on_signals(number)
