"""What a connection asks of the system."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from etcd_recipes.core.http.connection import Connection


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="the names of Linux")
def test_the_system_looks_whether_the_peer_is_still_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = Connection("127.0.0.1", server.getsockname()[1])
        connection.connect()
        try:
            sock = connection.sock
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            idle = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            every = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
            times = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
            assert idle + every * times <= 20
        finally:
            connection.close()


class Counted:
    """A socket that counts how often its limit was set."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.set: list[float | None] = []
        self.gettimeout, self.recv = sock.gettimeout, sock.recv

    def settimeout(self, seconds: float | None) -> None:
        self.set.append(seconds)
        self._sock.settimeout(seconds)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def test_the_limit_of_a_wait_is_set_when_the_one_before_is_shorter_or_much_longer(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    here, there = ends
    connection = Connection("127.0.0.1")
    connection.sock = sock = Counted(here)
    limits = [3.0, 2.9999, 2.999, 3.0001, 2.9, 0.5, None, None, 0.5]
    set_ = [3.0, 3.0001, 2.9, 0.5, None, None, 0.5]
    for limit in limits:
        connection.limit = lambda limit=limit: limit
        there.sendall(b"x")
        assert connection.receive() == b"x"
        assert limit is None or limit <= (here.gettimeout() or 0) <= limit + 0.01
    assert sock.set == set_
    connection.limit = lambda: 0.02
    with pytest.raises(TimeoutError):
        connection.receive()
