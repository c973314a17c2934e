"""Answers out of bytes, however they are cut; http.client, which is slow and lenient, is asked what they mean."""

from __future__ import annotations

import http.client
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcd_recipes.core.http.framing import (
    HEAD_END,
    Body,
    Head,
    _known_head,
    body_of,
    check_begun,
    head_of,
)
from tests.core.servers import answer, chunked
from tests.tools import long

OK = b"HTTP/1.1 200 OK\r\n"
ETCD = (
    OK + b"Content-Type: application/json\r\nGrpc-Metadata-Content-Type: application/grpc\r\n"
    b"Date: Mon, 23 Nov 2026 10:00:00 GMT\r\nX-Etcd-Index: 7\r\nContent-Length: 13\r\n\r\n"
    b'{"count":"1"}'
)


class Read:
    """What comes of an answer that arrives in these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        data, rest = b"", list(pieces)
        while HEAD_END not in data:
            check_begun(data)
            data += rest.pop(0)
        head, _, begin = data.partition(HEAD_END)
        self.head: Head = head_of(head)
        self.body: Body = body_of(self.head, begin)
        self.taken: list[bytes] = []
        self._take()
        for piece in rest:
            self.body.add(piece)
            self._take()

    def _take(self) -> None:
        while piece := self.body.take():
            self.taken.append(piece)

    @property
    def whole(self) -> bytes:
        return b"".join(self.taken)


class Socket:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self.data)


def by_http_client(data: bytes) -> tuple[int, dict[str, str], bytes, bool]:
    response = http.client.HTTPResponse(Socket(data), method="POST")  # type: ignore[arg-type]
    response.begin()
    headers = {name.lower(): value for name, value in response.headers.items()}
    return response.status, headers, response.read(), not response.will_close


ANSWERS = {
    "etcd": ETCD,
    "empty": answer(b""),
    "large": answer(b"x" * 100_000),
    "no content": b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
    "chunked": chunked(b"ab", b"c", b"\r\n0\r\n\r\n", b"d" * 40),
    "trailers": chunked(b"ab", trailers=("Grpc-Status: 0", "A: b")),
    "extensions": OK
    + b'Transfer-Encoding: Chunked\r\n\r\n1 ;a="\xff"\r\nx\r\n0A;b\r\n0123456789\r\n000;c\r\n\r\n',
    "closes": answer(b"ab", "Connection: Close"),
    "until the end": OK + b"\r\nab",
    "of old": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
    "no words": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nab",
    "odd headers": OK + b"A:\r\nB:   c\r\nX:a:b\r\nD: \xe9\r\nContent-Length: 2\r\n\r\nab",
}
answers = pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS)


@answers
def test_it_is_understood_as_the_standard_library_understands_it(data: bytes) -> None:
    read = Read(data)
    status, headers, body, keeps = by_http_client(data)
    assert (read.head.status, read.head.headers, read.whole) == (status, headers, body)
    assert (read.head.keeps and read.body.is_exact) == keeps


@answers
def test_it_is_the_same_in_however_many_pieces(data: bytes) -> None:
    once = Read(data)
    for at in range(1, min(len(data), 400)):
        cut = Read(data[:at], data[at:])
        assert (cut.head, cut.whole, cut.body.is_exact) == (
            once.head,
            once.whole,
            once.body.is_exact,
        )
    each = Read(*[data[at : at + 1] for at in range(min(len(data), 400))], data[400:])
    assert (each.head, each.whole, each.body.is_exact) == (
        once.head,
        once.whole,
        once.body.is_exact,
    )


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.data())
@settings(max_examples=long(50, 5000))
def test_chunks_of_anything_cut_anywhere(parts: list[bytes], cuts: Any) -> None:
    data, pieces = chunked(*parts, trailers=("A: b",)), []
    while data:
        size = cuts.draw(st.integers(1, len(data)))
        pieces.append(data[:size])
        data = data[size:]
    read = Read(*pieces)
    assert read.whole == b"".join(parts)
    assert read.body.is_exact


CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n"
NONE = {
    "another protocol": b"HTTP/2 200 OK\r\n\r\n",
    "another version": b"HTTP/1.x 200 OK\r\n\r\n",
    "garbage": b"\x00\x01garbage",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "status 000": b"HTTP/1.1 000 x\r\n\r\n",
    "status 20": b"HTTP/1.1 20 x\r\n\r\n",
    "an endless head": OK + b"A: " + b"b" * 70_000,
    "101 headers": OK + b"".join(b"A%d: b\r\n" % n for n in range(101)) + b"\r\n",
    "a header without a colon": OK + b"abc\r\n\r\n",
    "a header without a name": OK + b": x\r\n\r\n",
    "a space before the colon": OK + b"Content-Length : 2\r\n\r\nab",
    "a line end within a header": OK + b"A: b\nContent-Length: 2\r\n\r\nab",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 1\r\n\r\nab",
    "a length and chunks": OK
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a coding that is not known": OK
    + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a negative length": OK + b"Content-Length: -5\r\n\r\nab",
    "a length with a sign": OK + b"Content-Length: +2\r\n\r\nab",
    "a length that is no number": OK + b"Content-Length: 2x\r\n\r\nab",
    "a length that nobody can hold": OK + b"Content-Length: 99999999999999999999\r\n\r\nab",
    "a chunk of no size": CHUNKS + b"xyz\r\nab\r\n",
    "a chunk of negative size": CHUNKS + b"-2\r\nab\r\n",
    "a chunk size of Python": CHUNKS + b"0x2\r\nab\r\n",
    "a chunk that nobody can hold": CHUNKS + b"f" * 17 + b"\r\nab\r\n",
    "an endless line of a chunk": CHUNKS + b"0" * 70_000,
    "endless trailers": CHUNKS + b"0\r\n" + b"A: b\r\n" * 20_000,
    "a chunk longer than it says": CHUNKS + b"2\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("data", NONE.values(), ids=NONE)
def test_what_could_be_understood_in_two_ways_is_no_answer(data: bytes) -> None:
    with pytest.raises(http.client.HTTPException):
        Read(data[:-1], data[-1:], b"")


def test_what_came_before_nonsense_counts_and_the_nonsense_is_not_forgotten() -> None:
    body = body_of(head_of(CHUNKS[:-4]), b"2\r\nab\r\n1\r\nc\r\nzz\r\n")
    assert body.take() == b"abc"
    for _ in range(2):
        with pytest.raises(http.client.HTTPException):
            body.take()


@pytest.mark.parametrize(
    "data", [answer(b"abc")[:-1], chunked(b"ab", end=False), answer(b"abc")[:-3]]
)
def test_a_body_that_is_cut_off_is_none(data: bytes) -> None:
    read = Read(data)
    for _ in range(2):
        with pytest.raises(http.client.IncompleteRead):
            read.body.hung_up()
    assert not read.body.is_over


@pytest.mark.parametrize("data", [answer(b"ab"), answer(b""), chunked(b"ab")])
def test_what_comes_after_the_end_is_noticed(data: bytes) -> None:
    for read in (Read(data + b"H"), Read(data, b"H")):
        assert read.body.is_over
        assert not read.body.is_exact
    assert Read(data).body.is_exact


def test_a_line_of_old_that_goes_on_is_one_line() -> None:
    head = head_of(OK + b"X-Etcd-Index: 1\r\n  2\r\nA: b")
    assert head.headers == {"x-etcd-index": "1 2", "a": "b"}


def test_the_space_around_a_header_is_none_of_it() -> None:
    assert head_of(OK + b"A: \t b c \t").headers == {"a": "b c"}


def test_a_head_that_is_long_is_not_kept() -> None:
    before = _known_head.cache_info().currsize
    raw = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1024
    assert head_of(raw).headers["x"] == "x" * 1024
    assert _known_head.cache_info().currsize == before


def test_a_header_that_comes_twice_is_a_list() -> None:
    assert head_of(OK + b"A: b\r\na: c").headers == {"a": "b, c"}


def test_what_has_come_of_a_chunk_is_given_at_once_whatever_it_looks_like() -> None:
    inside = b"\r\n3\r\nabc\r\n"
    body = body_of(head_of(OK + b"Transfer-Encoding: chunked"), b"")
    body.add(b"%x\r\n{" % (len(inside) + 4))
    assert body.take() == b"{"
    body.add(inside)
    assert body.take() == inside
    for piece in (b"x", b"}\n"):
        body.add(piece)
        assert body.take() == piece
    body.add(b"\r\n")
    assert body.take() == b""
    body.add(b"0\r\n\r\n")
    assert (body.take(), body.is_exact) == (b"", True)
