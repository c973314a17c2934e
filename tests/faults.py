"""A TCP proxy in front of a real server, for the faults that only a network has.

``lose_reply``   the request reaches the server, its answer does not come back: the connection is closed
`cut`           all connections break, until `heal`
``hold``         the request waits here, and reaches the server when `let_go` is called, however late
"""

from __future__ import annotations

import socket
import threading
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    def __init__(self, endpoint: str) -> None:
        target = urlsplit(endpoint)
        self._target = (target.hostname, target.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.mode = "pass"
        self.only = b""  # the fault is for requests with these bytes in them
        self.hits = 0
        self._is_cut = False
        self._gate = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def let_go(self) -> None:
        self._gate.set()

    def cut(self) -> None:
        """Break all connections, and every new one, until `heal`."""
        self._is_cut = True
        for sock in self._sockets:
            _close(sock)

    def heal(self) -> None:
        self._is_cut = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                client.close()
                continue
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for work in ((self._requests, client, server), (self._replies, server, client)):
                thread = threading.Thread(target=work[0], args=work[1:], daemon=True)
                self._threads.append(thread)
                thread.start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        while data := _receive(client):
            if self.mode != "pass" and self.only in data:
                self.hits += 1
                if self.mode == "hold":
                    self._gate.wait()
                    _send(server, data)
                    return  # the server's side stays open: etcd drops requests of a client that left
                self._lose_reply(client, server, data)
                return
            _send(server, data)
        _close(server)

    def _lose_reply(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        lonely = socket.create_connection(self._target)
        lonely.sendall(data)
        lonely.settimeout(2.0)
        lonely.recv(1)  # the server has answered, so it has acted
        lonely.close()
        _close(client)
        _close(server)

    def _replies(self, server: socket.socket, client: socket.socket) -> None:
        while data := _receive(server):
            _send(client, data)
        _close(client)

    def close(self) -> None:
        self._gate.set()
        self.mode = "pass"
        _close(self._listener)
        self._listener.close()
        for sock in self._sockets:
            _close(sock)
        for thread in self._threads:
            thread.join(5.0)
        for sock in self._sockets:
            sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except OSError:
        return b""


def _send(sock: socket.socket, data: bytes) -> None:
    try:
        sock.sendall(data)
    except OSError:
        pass


def _close(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
