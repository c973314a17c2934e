"""The floor reads what a server sends, however it is cut: what it lost would flatter everybody else."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from benchmarks.adapters.raw import Raw

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


def raw_that_is_sent(pieces: list[bytes]) -> Raw:
    ours, theirs = socket.socketpair()
    raw = object.__new__(Raw)
    raw._sock, raw._buffer, raw._host = ours, b"", b"x"

    def send() -> None:
        with theirs:
            for piece in pieces:
                theirs.sendall(piece)
            while theirs.recv(65536):
                pass

    threading.Thread(target=send).start()
    return raw


@pytest.mark.parametrize("cut", [1000, 65536, 10**9])
def test_messages_come_whole_in_whatever_pieces_they_are_sent(cut: int) -> None:
    messages = [{"n": n, "long": "x" * 40_000} for n in range(8)]
    lines = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    chunks = b"".join(chunk(lines[at : at + cut]) for at in range(0, len(lines), cut)) + chunk(b"")
    for size in (4096, 70_001):
        raw = raw_that_is_sent([chunks[at : at + size] for at in range(0, len(chunks), size)])
        assert list(raw.messages()) == messages
        raw.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_is_read_to_its_end_and_no_further(chunked: bool) -> None:
    body = json.dumps({"kvs": ["x" * 200_000]}).encode()
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    if chunked:
        whole = HEAD + chunk(body[:70_000]) + chunk(body[70_000:]) + chunk(b"")
    raw = raw_that_is_sent([whole + whole])
    for _ in range(2):
        assert raw.call(b"/v3/kv/range", {}) == json.loads(body)
    raw.close()
