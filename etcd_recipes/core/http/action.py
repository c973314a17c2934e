"""A request is a value: what is sent, whether it may be sent twice; and what came back.

Rules of this file
1. Values only: no socket, no clock, no thread. Dialects build Actions, the cluster walks them along the
   endpoints, the wire sends them.
2. The replay rule stands on the Action, where the one who knows the request wrote it, and nowhere else.
3. An Action's repr shows neither its body nor its headers: a password or a token may stand in them.
4. Nobody changes a value here. That they are not frozen is for speed alone: freezing costs as much as ten calls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Action", "Doubt", "Reply", "excerpt"]


@dataclass(slots=True)
class Action:
    """One HTTP request, to whichever endpoint.

    `replay` is True when sending it again does no harm even if the first copy was carried out (or will
    be, much later: a stopped server applies what it was sent when it is resumed). `what` names the
    request in messages, without secrets. `follow` is True when a redirect leads to the answer; without
    it, a redirect is the answer. `secret` is True when the body must not be shown, nor be taken by a
    redirect to a host that is not one of the client's endpoints. `fresh` is True when an answer that is
    older than what the client has seen already is none: linearizable reads, and writes. `header_timeout`
    is how long, in seconds, an endpoint may take to begin its answer, where that is not the client's to say
    (``math.inf``: as long as the call has). `preflight` is what an endpoint has to answer first, after there
    was trouble: a read that does no harm, for a request that a member without a leader would hold.
    """

    path: str
    body: bytes = field(default=b"", repr=False)
    method: str = "POST"
    replay: bool = False
    what: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    follow: bool = False
    secret: bool = False
    fresh: bool = False
    header_timeout: float | None = None
    preflight: Action | None = None


class Doubt:
    """Whether a copy of a request may have been carried out, or may yet be, though no answer came.

    One for all walks that are made for a call: what one of them left open, the next one cannot settle.
    """

    __slots__ = ("is_there",)

    def __init__(self) -> None:
        self.is_there = False

    def add(self, maybe_applied: bool) -> bool:
        """Take in what became of one attempt, and give what is to be said of all of them."""
        self.is_there = self.is_there or maybe_applied
        return self.is_there


@dataclass(slots=True)
class Reply:
    """One HTTP answer.

    `doubt` is True when an earlier attempt of the same Action got no answer: that copy may have been
    carried out, or may yet be. `secret` is that of the Action.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    endpoint: str
    doubt: bool = False
    secret: bool = False

    @property
    def shown(self) -> str:
        """How the body begins, for people; not if what was asked is a secret, for some servers repeat it."""
        return "a body that is not shown" if self.secret else excerpt(self.body)


_AUTHORIZATION = re.compile(
    r"(authorization\W{1,40}(?:(?:basic|bearer)\W+)?)[^\s\"',;]+", re.IGNORECASE
)


def excerpt(body: bytes) -> str:
    """Give how `body` begins, for people, without what authenticates us, which some servers repeat."""
    if not body:
        return "an empty body"
    text = _AUTHORIZATION.sub(r"\1***", body[:80].decode("utf-8", "replace"))
    return repr(text) + ("..." if len(body) > 80 else "")
