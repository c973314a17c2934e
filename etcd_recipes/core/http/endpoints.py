"""Endpoints: how they are written, and in which order they are asked.

Rules of this file
1. Values and pure functions: no socket, no clock, no thread.
2. The ring prefers one endpoint (the pinned one) and turns on only when that one fails. An endpoint is
   never left out: quarantine of the last one is how rivals stay dead after the server is back.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Ring", "parse_endpoints"]

_DEFAULT_PORT = 2379


def parse_endpoints(spec: str | Iterable[str], *, secure: bool = False) -> tuple[str, ...]:
    """Give the endpoints as ``scheme://host:port`` URLs, in order, without doubles.

    `spec` is one URL, several with commas between, or a sequence of them. Without a scheme it is http,
    or https if `secure`, and then without a port it is 2379. ValueError, naming the endpoint, for anything else.
    """
    parts = spec.split(",") if isinstance(spec, str) else list(spec)
    endpoints = [_parse(part.strip(), secure) for part in parts if part.strip()]
    if not endpoints:
        raise ValueError("no etcd endpoint given; expected for example 'http://127.0.0.1:2379'")
    return tuple(dict.fromkeys(endpoints))


def _parse(text: str, secure: bool) -> str:
    # Imported here: a program that only prints its --help has no endpoint to parse.
    from urllib3.exceptions import LocationParseError
    from urllib3.util import parse_url

    if "@" in text:  # before anything is said about the rest, which may hold a password
        host = text.rpartition("@")[2]
        host = host if host.isprintable() else repr(host)
        raise ValueError(
            f"credentials do not belong in an endpoint ({host}); use username= and password="
        )
    has_scheme = "://" in text
    try:
        url = parse_url(text if has_scheme else f"{'https' if secure else 'http'}://{text}")
    except LocationParseError:
        url = None
    if url is None or " " in text or not text.isprintable():  # older urllib3 let spaces pass
        raise ValueError(f"{text!r} is not a URL; expected for example 'http://127.0.0.1:2379'")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(
            f"{text!r} is not an http or https URL; expected for example 'http://127.0.0.1:2379'"
        )
    if url.query or url.fragment:
        raise ValueError(f"{text!r}: an endpoint has no query and no fragment")
    port = url.port
    if port is None and not has_scheme:
        port = _DEFAULT_PORT
    path = (url.path or "").rstrip("/")
    return f"{url.scheme}://{url.host}{'' if port is None else f':{port}'}{path}"


@dataclass(frozen=True, slots=True)
class Ring:
    """The endpoints in their order, and the one that is asked first."""

    endpoints: tuple[str, ...]
    first: int = 0

    @classmethod
    def shuffled(cls, endpoints: tuple[str, ...], rng: random.Random) -> Ring:
        """Make a ring in random order, so that the clients of a fleet do not all pin the same member."""
        order = list(endpoints)
        rng.shuffle(order)
        return cls(tuple(order))

    @property
    def pinned(self) -> str:
        """The endpoint that is asked first."""
        return self.endpoints[self.first]

    def order(self, after: str | None = None) -> tuple[str, ...]:
        """Give all endpoints in turn, from the pinned one on, or from the one that follows `after`."""
        first = self.first
        if after is not None and after in self.endpoints:
            first = self.endpoints.index(after) + 1
        return self.endpoints[first:] + self.endpoints[:first]

    def pin(self, endpoint: str) -> Ring:
        """Give the ring that asks `endpoint` first; this ring if it does already or does not know it."""
        if endpoint == self.pinned or endpoint not in self.endpoints:
            return self
        return Ring(self.endpoints, self.endpoints.index(endpoint))

    def leave(self, endpoint: str) -> Ring:
        """Give the ring that asks the next one first, if `endpoint` is the pinned one."""
        if endpoint != self.pinned:
            return self
        return Ring(self.endpoints, (self.first + 1) % len(self.endpoints))
