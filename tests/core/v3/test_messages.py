"""The messages of a stream that is listened to: what came, that nothing came, and that it is over."""

from __future__ import annotations

from typing import cast

import pytest

from etcd_recipes.core.errors import EndpointError
from etcd_recipes.core.http.stream import Stream
from etcd_recipes.core.v3.horizon import Horizon
from etcd_recipes.core.v3.messages import Messages


class Heard:
    """A stream that gives these pieces: None for silence, nothing for its end."""

    endpoint = "http://a:1"

    def __init__(self, *pieces: bytes | None) -> None:
        self._pieces = list(pieces)

    def hear(self, _quiet: float) -> bytes | None:
        return self._pieces.pop(0)


def test_silence_is_no_end_and_an_end_is_an_error() -> None:
    line = b'{"result":{"header":{"revision":"4"}}}\n'
    messages = Messages(cast("Stream", Heard(line, None, line[:9], line[9:], b"")), Horizon())
    result = {"header": {"revision": "4"}}
    assert [messages.hear(1.0) for _ in range(4)] == [[result], None, [], [result]]
    with pytest.raises(EndpointError, match="ended the watch"):
        messages.hear(1.0)
