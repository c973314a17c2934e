"""Events: all that a run tells, each one line of JSON on its way from a worker to the stage.

Rules of this file
1. Values only. `at` is a point on the runtime's clock, which all processes of a machine share.
2. A line that is no event is none: whatever else got onto a pipe must not end the demo.

The kinds, and who tells them::

    stage     begun        text: what runs where
              cluster      names: the members of the etcd cluster
              rules        who: the member that leads the etcd cluster
              started      who: a worker process that was started
              killed       who: the leading worker; token: of its term; names: the jobs under way
              crashed      who: the etcd member; names: the jobs under way
              late         who: a dead leader; token: under which a write was tried; number: the highest seen;
                           text: not empty if it was accepted all the same
              ended        who: a worker process that is gone; number: its exit status
              curtain      the workers are asked to stop
    observer  candidates   names: the leader, then all who wait behind, in their order
              registered   names: all who are registered
    worker    ready        number: the ttl that the server granted
              elected      token: of its term, which the ledger has accepted
              handed       job, token
              took         job, token: it runs under a lock with this token
              wrote        job, token: it stands in the ledger
              found        job: it stood in the ledger already
              refused      job or "", token; number: the highest that the ledger has seen
              lost         job or "" (the term); text: why
              trouble      text
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

__all__ = ["Event", "from_line", "to_line"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; see the module's docstring for the kinds and what they carry."""

    kind: str
    at: float
    who: str = ""
    job: str = ""
    token: int = 0
    number: int = 0
    text: str = ""
    names: tuple[str, ...] = ()


def to_line(event: Event) -> str:
    """Give the event as one line of JSON, without what is empty."""
    fields = {name: value for name, value in asdict(event).items() if value or name == "at"}
    return json.dumps(fields, separators=(",", ":"))


def from_line(line: str) -> Event | None:
    """Give the event that a line is, or None if it is none."""
    try:
        fields = json.loads(line)
        return Event(**{**fields, "names": tuple(fields.get("names", ()))})
    except (ValueError, TypeError, AttributeError):
        return None
