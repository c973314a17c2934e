"""What a connection asks of the system."""

from __future__ import annotations

import socket

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
