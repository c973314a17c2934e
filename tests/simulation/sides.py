"""Two sides to send the same bytes to: a real etcd, and the model.

Rules of this file
1. A side is asked with bytes and gives bytes; what is said about an answer is said by the tests.
2. Revisions and indexes count from where a side stood when it was made (`at`), so that both sides agree on them.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import re
import socket
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from tests.simulation.model import Answer, Cluster, Request, WatchHandle

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
Json = dict[str, Any]


def b64(text: str) -> str:
    """Give text as JSON has bytes."""
    return b64encode(text.encode()).decode()


class Stream(Protocol):
    """An answer that goes on."""

    status: int
    headers: Mapping[str, str]

    def read(self, seconds: float) -> bytes | None:
        """Give what comes next, b"" at the end, None when nothing came in time."""

    def close(self) -> None:
        """Leave."""


class Side:
    """What both sides have in common."""

    version: str

    def send(self, request: Request) -> Answer:
        """Send one request and give its answer."""
        raise NotImplementedError

    def open(self, request: Request) -> Stream:
        """Send one request whose answer goes on."""
        raise NotImplementedError

    def send_all(self, requests: Sequence[Request]) -> None:
        """Send requests one after the other; what they are answered is not looked at."""
        for request in requests:
            self.send(request)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        raise NotImplementedError

    @property
    def is_old(self) -> bool:
        return self.version.startswith("3.4.")

    def v3(self, path: str, body: Json | bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """POST to the gateway."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send(Request("POST", f"/v3/{path}", data, headers or {}))

    def ask(self, path: str, body: Json) -> Json:
        """POST to the gateway what it has to answer with a result."""
        answer = self.v3(path, body)
        assert answer.status == 200, answer
        found: Json = json.loads(answer.body)
        return found

    def revision(self) -> int:
        """Give the revision of the store."""
        return int(self.ask("kv/range", {"key": b64("\0")})["header"]["revision"])

    def watch(self, *asked: Json, headers: Mapping[str, str] | None = None) -> Messages:
        """Open a v3 watch stream with these objects as its body."""
        body = "".join(json.dumps(one) for one in asked).encode()
        heads = {"Connection": "close", **(headers or {})}
        return Messages(self.open(Request("POST", "/v3/watch", body, heads)))

    def v2(self, method: str, path: str, form: Mapping[str, str] | None = None) -> Answer:
        """Send a request about keys; `path` with its query."""
        body = urlencode(form or {}).encode()
        return self.send(Request(method, f"/v2/keys{path}", body, {} if method == "GET" else FORM))

    def index(self) -> int:
        """Give the index of the v2 store."""
        return int(self.v2("GET", "/").headers["X-Etcd-Index"])

    def wait_v2(self, path: str) -> Messages:
        """Open a wait on v2; `path` with its query."""
        return Messages(self.open(Request("GET", f"/v2/keys{path}", b"", {})))


class Messages:
    """The JSON objects of a stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.chunks: list[bytes] = []
        self._text = ""
        self._decoder = json.JSONDecoder()
        self.ended = False

    def take(self, count: int, seconds: float = 3.0) -> list[Json]:
        """Give the next messages; fewer when no more come in time."""
        found: list[Json] = []
        until = time.monotonic() + seconds
        while len(found) < count:
            if self._text and self._whole(found):
                continue
            piece = self.stream.read(max(0.0, until - time.monotonic()))
            if not piece:
                self.ended = self.ended or piece == b""
                break
            self.chunks.append(piece)
            self._text += piece.decode()
        return found

    def _whole(self, found: list[Json]) -> bool:
        text = self._text.lstrip()
        try:
            value, end = self._decoder.raw_decode(text)
        except ValueError:
            return False
        found.append(value)
        self._text = text[end:].lstrip()
        return True

    def at_end(self, seconds: float = 3.0) -> bool:
        """Tell whether the answer comes to its end, without another message."""
        return self.ended or (not self.take(1, seconds) and self.ended)

    def close(self) -> None:
        """Leave."""
        self.stream.close()


# -- the real one ---------------------------------------------------------------------------------------------


class Real(Side):
    """A server on the loopback interface."""

    def __init__(self, endpoint: str) -> None:
        self._netloc = urlsplit(endpoint).netloc
        self._connection = http.client.HTTPConnection(self._netloc, timeout=20)
        self.version = json.loads(self.send(Request("GET", "/version")).body)["etcdserver"]

    def send(self, request: Request) -> Answer:
        connection = self._connection
        connection.request(request.method, request.path, request.body, dict(request.headers))
        response = connection.getresponse()
        body = response.read()
        return Answer(response.status, dict(response.headers.items()), body)

    def send_all(self, requests: Sequence[Request]) -> None:
        """Send them on one connection, many before the first answer: a thousand take as long as a hundred."""
        for first in range(0, len(requests), 100):
            part = requests[first : first + 100]
            with closing(RealStream(self._netloc, *part)) as stream:
                stream.skip(len(part))

    def open(self, request: Request) -> Stream:
        return RealStream(self._netloc, request)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        self._connection.close()


class RealStream:
    """A real answer that goes on, chunk by chunk; http.client cannot wait for a chunk and give up."""

    def __init__(self, netloc: str, *requests: Request) -> None:
        host, _, port = netloc.partition(":")
        self._sock = socket.create_connection((host, int(port)), 5.0)
        self._sock.sendall(b"".join(_bytes_of(request, netloc) for request in requests))
        self._buffer = bytearray()
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            assert self._receive(5.0), self._buffer
        status, _, heads_text = self._buffer[:end].decode().partition("\r\n")
        del self._buffer[: end + 4]
        self.status = int(status.split()[1])
        self.headers = dict(line.split(": ", 1) for line in heads_text.split("\r\n"))
        self._is_chunked = self.headers.get("Transfer-Encoding") == "chunked"

    def _receive(self, seconds: float) -> bool | None:
        self._sock.settimeout(max(seconds, 0.001))
        try:
            piece = self._sock.recv(65536)
        except TimeoutError:
            return None
        self._buffer += piece
        return bool(piece)

    def read(self, seconds: float) -> bytes | None:
        until = time.monotonic() + seconds
        while (chunk := self._chunk()) is None:
            more = self._receive(until - time.monotonic())
            if not more:
                return None if more is None else b""
        return chunk

    def skip(self, answers: int) -> None:
        """Read on to the head of the last answer; the first one has been read."""
        while self._buffer.count(b"HTTP/1.1 ") < answers - 1:
            assert self._receive(5.0), self._buffer

    def _chunk(self) -> bytes | None:
        """Take the next chunk from what was received, if it is all there."""
        buffer = self._buffer
        if not self._is_chunked:
            whole = len(buffer) >= int(self.headers["Content-Length"])
            return bytes(buffer) if whole else None
        size, line_end, _ = buffer.partition(b"\r\n")
        if not line_end:
            return None
        begin, length = len(size) + 2, int(size, 16)
        if len(buffer) < begin + length + 2:
            return None
        chunk = bytes(buffer[begin : begin + length])
        del buffer[: begin + length + 2]
        return chunk

    def close(self) -> None:
        self._sock.close()


def _bytes_of(request: Request, netloc: str) -> bytes:
    heads = {"Host": netloc, "Content-Length": len(request.body), **request.headers}
    lines = [f"{request.method} {request.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in heads.items()]
    return "\r\n".join([*lines, "", ""]).encode() + request.body


# -- the model ------------------------------------------------------------------------------------------------


class Modelled(Side):
    """A member of the model, with a clock that goes on when it is told to."""

    def __init__(self, version: str, seed: int = 1, **options: Any) -> None:
        self.version = version
        self.cluster = Cluster(rng=random.Random(seed), version=version, **options)
        self.member = self.cluster.members[0]
        self.now = 0.0

    def send(self, request: Request) -> Answer:
        if self.member.kind(request) != "watch":
            return self.member.answer(request, self.now)
        opened = self.member.open(request, self.now, lambda _: None, lambda: None)
        assert isinstance(opened, Answer), "an answer that goes on"
        return opened

    def open(self, request: Request) -> Stream:
        return ModelStream(self, request)

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.cluster.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.cluster.tick(self.now)
        self.now = until

    def close(self) -> None:
        """Nothing to leave."""


class ModelStream:
    """An answer of the model that goes on."""

    def __init__(self, side: Modelled, request: Request) -> None:
        self._side = side
        self._chunks: list[bytes] = []
        opened = side.member.open(request, side.now, self._chunks.append, self._end)
        if isinstance(opened, Answer):
            self._chunks += [opened.body, b""]
        self.handle = opened if isinstance(opened, WatchHandle) else None
        self.status = opened.status
        self.headers = opened.headers

    def _end(self) -> None:
        self._chunks.append(b"")

    def read(self, seconds: float) -> bytes | None:
        if not self._chunks:
            self._side.wait(min(seconds, 0.2))
        return self._chunks.pop(0) if self._chunks else None

    def close(self) -> None:
        if self.handle is not None:
            self.handle.close()


# -- what both say, made comparable ----------------------------------------------------------------------------

_REVISIONS = ("revision", "create_revision", "mod_revision", "compact_revision")
_INDEXES = ("modifiedIndex", "createdIndex", "index")
_DIGITS = re.compile(r"\d{20}")
_PAIR = re.compile(r"\[(\d+)( != |/)(\d+)\]")


class Norm:
    """Takes out of an answer what cannot be the same on both sides."""

    def __init__(self, side: Side) -> None:
        self.revision = side.revision()
        self.index = side.index()

    def answer(self, answer: Answer) -> tuple[int, Any]:
        """Give status and body."""
        try:
            body: Any = json.loads(answer.body)
        except ValueError:
            body = answer.body
        return answer.status, self.value(body)

    def value(self, value: Any, name: str = "") -> Any:
        """Give a part of an answer as it can be compared."""
        if isinstance(value, dict):
            return {k: self.value(v, k) for k, v in value.items() if k not in _OWN}
        if isinstance(value, list):
            return [self.value(one, name) for one in value]
        if name in _REVISIONS:
            return int(value) - self.revision
        if name in _INDEXES:
            return value - self.index if value else value
        if name in ("key", "cause", "kvs") and isinstance(value, str):
            return self._text(value)
        if name in ("TTL", "ttl"):
            left = int(value)
            return left if left < 1000 else (left + 500) // 1000 * 1000
        return value

    def _text(self, value: str) -> str:
        value = _DIGITS.sub(lambda found: f"{int(found[0]) - self.index:020d}", value)
        return _PAIR.sub(
            lambda f: f"[{int(f[1]) - self.index}{f[2]}{int(f[3]) - self.index}]", value
        )


_OWN = ("cluster_id", "member_id", "raft_term", "expiration")
_names = itertools.count()


def fresh(what: str) -> str:
    """Give a name that nothing else has."""
    return f"{what}{next(_names)}"
