"""A forked child uses none of its parent's connections, and leaves them as they are."""

from __future__ import annotations

import pytest

from tests.core.http.test_session import CERT, server_side
from tests.core.programs import run
from tests.core.servers import Peer, Request, Server, answer, chunked, echo

START = """
    import os, sys, threading, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # about forks of programs with threads
    from etcd_recipes.core.context import Context
    from etcd_recipes.core.http.action import Action
    from etcd_recipes.core.http.cluster import Cluster
    from etcd_recipes.core.http.wire import Wire

    endpoint, ca = sys.argv[1:]
    wire = Wire(ca=ca or None)

    def ask(text):
        reply = wire.exchange(endpoint, Action("/v3/x", text.encode()), Context(5.0), 2.0)
        assert reply.body.decode() == text, (reply.body, text)

    def in_child(work):
        if (child := os.fork()) == 0:
            try:
                work()
            except BaseException as error:
                os.write(2, repr(error).encode())
                os._exit(1)
            os._exit(0)
        return child

    def ended_well(child):
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

over = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


def start(program: str, handler, *, tls: bool) -> Server:
    """Run the program against a server, and give the server, closed."""
    with Server(handler, tls=server_side() if tls else None) as server:
        assert run(START + program, server.endpoint, CERT if tls else "") == "through\n"
    return server


@over
def test_the_child_connects_anew_and_the_parent_keeps_its_connection(*, tls: bool) -> None:
    server = start(
        """
    ask("parent 1")
    ended_well(in_child(lambda: [ask("child 1"), ask("child 2"), wire.close()]))
    ask("parent 2")
    print("through")
    """,
        echo,
        tls=tls,
    )
    used = {request.body.decode(): request.connection for request in server.requests}
    assert used == {"parent 1": 1, "child 1": 2, "child 2": 2, "parent 2": 1}


@over
def test_no_answer_crosses_between_processes_that_call_at_the_same_time(*, tls: bool) -> None:
    server = start(
        """
    ask("warm")
    work = lambda: [ask(f"{os.getpid()} {number}") for number in range(50)]
    children = [in_child(work) for _ in range(3)]
    work()
    for child in children:
        ended_well(child)
    print("through")
    """,
        echo,
        tls=tls,
    )
    owner: dict[int, str] = {}
    for request in server.requests[1:]:
        pid = request.body.decode().split()[0]
        assert owner.setdefault(request.connection, pid) == pid


@over
def test_a_child_that_ends_does_not_disturb_its_parents_stream(*, tls: bool) -> None:
    def handle(peer: Peer) -> None:
        first = peer.request()
        assert isinstance(first, Request)
        if first.path != "/v3/watch":
            peer.send(answer(first.body))
            return
        peer.send(chunked(b"one", end=False))
        peer.server.heard(2)  # the child's call
        peer.pause(0.2)
        peer.send(b"3\r\ntwo\r\n0\r\n\r\n")

    start(
        """
    stream = wire.open(endpoint, Action("/v3/watch"), Context(5.0), 2.0)
    assert stream.read() == b"one"
    ended_well(in_child(lambda: [ask("child"), wire.close()]))
    assert stream.read() == b"two"
    assert stream.read() == b""
    stream.close()
    print("through")
    """,
        handle,
        tls=tls,
    )


def test_a_fork_in_the_middle_of_other_threads_calls_leaves_a_child_that_works() -> None:
    start(
        """
    cluster = Cluster(wire, (endpoint,))
    over = threading.Event()

    def work():
        while not over.is_set():
            ask("busy")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        ended_well(in_child(lambda: [ask("child"), cluster.close()]))
    over.set()
    for thread in threads:
        thread.join()
    print("through")
    """,
        echo,
        tls=False,
    )


def test_a_limit_that_other_threads_use_while_a_fork_happens_still_works_in_the_child() -> None:
    start(
        """
    shared, over = Context(), threading.Event()

    def work():
        while not over.is_set():
            shared.unsubscribe(shared.subscribe(print))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        ended_well(in_child(lambda: [threading.Timer(3.0, os._exit, [1]).start(), shared.child().wait(0)]))
    over.set()
    for thread in threads:
        thread.join()
    print("through")
    """,
        echo,
        tls=False,
    )
