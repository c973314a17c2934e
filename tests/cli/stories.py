"""Stories for the tests of what decides: events told in a row, and the picture that they give."""

from __future__ import annotations

from etcd_recipes.cli.demo.event import Event
from etcd_recipes.cli.demo.plan import Plan
from etcd_recipes.cli.demo.story import Picture, apply, begin

PLAN = Plan(workers=3, jobs=12, ttl=3, seed=1)


def event(kind: str, who: str = "", at: float = 0.0, **fields: object) -> Event:
    return Event(kind, at, who, **fields)  # type: ignore[arg-type]


def took(who: str, job: str, token: int = 20, at: float = 0.0) -> Event:
    return event("took", who, at, job=job, token=token)


def wrote(who: str, job: str, at: float = 0.0) -> Event:
    return event("wrote", who, at, job=job)


def handed(who: str, job: str, token: int, at: float = 0.0) -> Event:
    return event("handed", who, at, job=job, token=token)


def after(*events: Event, since: Picture | None = None) -> Picture:
    picture = begin(PLAN) if since is None else since
    for each in events:
        picture = apply(picture, each)
    return picture


# worker-1 leads under token 5, all three are there; jobs 001 to 003 are handed out.
LED = after(
    event("begun", at=100.0, text="its own"),
    event("cluster", names=("m0", "m1", "m2"), text="three members"),
    event("rules", "m1"),
    *(event("ready", f"worker-{n}", number=3) for n in (1, 2, 3)),
    event("elected", "worker-1", token=5),
    event("candidates", names=("worker-1", "worker-3", "worker-2")),
    event("registered", names=("worker-1", "worker-2", "worker-3")),
    *(handed("worker-1", f"00{n}", 5) for n in (1, 2, 3)),
)

# It has 003 in hand, worker-2 has 002 in hand, 001 is done, and worker-1 is killed at 110.0.
KILLED = after(
    took("worker-2", "001"),
    wrote("worker-2", "001"),
    took("worker-2", "002"),
    took("worker-1", "003"),
    event("killed", "worker-1", 110.0, token=5, names=("002", "003")),
    event("ended", "worker-1", 110.1, number=-9),
    since=LED,
)

# worker-3 leads under token 40 since 112.5, and has handed out a job.
TAKEN_OVER = after(
    event("elected", "worker-3", 112.5, token=40),
    handed("worker-3", "004", 40, at=112.5),
    since=KILLED,
)
