"""The story: events in, the current picture out.

Rules of this file
1. Pure: a picture is a value, and an event makes a new one of it. No clock, no process, no etcd.
2. Nobody leads before there is proof: a leader is who was elected and whose token the ledger accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from etcd_recipes.cli.demo.event import Event
from etcd_recipes.cli.demo.plan import Plan

__all__ = ["Blow", "Hand", "Picture", "apply", "begin"]


@dataclass(frozen=True, slots=True)
class Hand:
    """One worker, as far as it is known: `state` is starting, here, killed or gone."""

    name: str
    state: str = "starting"
    job: str = ""
    token: int = 0
    done: int = 0


@dataclass(frozen=True, slots=True)
class Blow:
    """A crash that the stage made: of a worker (with its term's `token`), or of an etcd member (token 0)."""

    who: str
    at: float
    running: tuple[str, ...]
    token: int = 0


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known at a moment; `at` is when the last event happened."""

    plan: Plan
    at: float = 0.0
    began: float = 0.0
    ttl: int = 0
    hands: Mapping[str, Hand] = field(default_factory=dict)
    leader: str = ""
    token: int = 0
    terms: int = 0
    candidates: tuple[str, ...] = ()
    registered: tuple[str, ...] = ()
    place: str = ""
    members: tuple[str, ...] = ()
    dead_members: frozenset[str] = frozenset()
    ruler: str = ""
    handed: frozenset[str] = frozenset()
    done: frozenset[str] = frozenset()
    killed: Blow | None = None
    crashed: Blow | None = None
    taken_over: float | None = None
    done_at_takeover: int = 0
    fence_tested: bool = False
    closing: bool = False

    @property
    def running(self) -> tuple[str, ...]:
        """The jobs under way in workers that live."""
        return tuple(sorted(hand.job for hand in self.hands.values() if _works(hand)))

    @property
    def orphan(self) -> str:
        """The job that the killed worker had in hand and that nobody has taken since, or ""."""
        if self.killed is None or not (job := self.hands[self.killed.who].job):
            return ""
        taken = any(hand.job == job for hand in self.hands.values() if _works(hand))
        return "" if taken or job in self.done else job


def begin(plan: Plan) -> Picture:
    """Give the picture before anything has happened."""
    return Picture(plan, hands={name: Hand(name) for name in plan.names})


def apply(picture: Picture, event: Event) -> Picture:
    """Give the picture after the event."""
    change = _CHANGES.get(event.kind)
    picture = replace(picture, at=event.at)
    return picture if change is None else change(picture, event)


def _works(hand: Hand) -> bool:
    return hand.state == "here" and bool(hand.job)


def _hand(picture: Picture, event: Event, **changes: object) -> Picture:
    known = picture.hands.get(event.who, Hand(event.who))
    return replace(picture, hands={**picture.hands, event.who: replace(known, **changes)})  # type: ignore[arg-type]


def _no_leader(picture: Picture, who: str) -> Picture:
    return replace(picture, leader="") if picture.leader == who else picture


def _begun(picture: Picture, event: Event) -> Picture:
    return replace(picture, began=event.at)


def _cluster(picture: Picture, event: Event) -> Picture:
    return replace(picture, members=event.names, place=event.text)


def _rules(picture: Picture, event: Event) -> Picture:
    return replace(picture, ruler=event.who)


def _candidates(picture: Picture, event: Event) -> Picture:
    return replace(picture, candidates=event.names)


def _registered(picture: Picture, event: Event) -> Picture:
    return replace(picture, registered=event.names)


def _ready(picture: Picture, event: Event) -> Picture:
    return _hand(replace(picture, ttl=max(picture.ttl, event.number)), event, state="here")


def _elected(picture: Picture, event: Event) -> Picture:
    killed = picture.killed
    if killed is not None and picture.taken_over is None and event.token > killed.token:
        picture = replace(
            picture, taken_over=event.at - killed.at, done_at_takeover=len(picture.done)
        )
    return replace(picture, leader=event.who, token=event.token, terms=picture.terms + 1)


def _handed(picture: Picture, event: Event) -> Picture:
    return replace(picture, handed=picture.handed | {event.job})


def _took(picture: Picture, event: Event) -> Picture:
    return _hand(picture, event, job=event.job, token=event.token)


def _wrote(picture: Picture, event: Event) -> Picture:
    done = picture.hands[event.who].done + 1
    picture = _hand(picture, event, job="", token=0, done=done)
    return replace(picture, done=picture.done | {event.job})


def _found(picture: Picture, event: Event) -> Picture:
    picture = _hand(picture, event, job="", token=0)
    return replace(picture, done=picture.done | {event.job})


def _lost(picture: Picture, event: Event) -> Picture:
    if not event.job:
        return _no_leader(picture, event.who)
    return _hand(picture, event, job="", token=0)


def _killed(picture: Picture, event: Event) -> Picture:
    blow = Blow(event.who, event.at, event.names, event.token)
    picture = replace(_no_leader(picture, event.who), killed=blow)
    return _hand(picture, event, state="killed")


def _late(picture: Picture, _event: Event) -> Picture:
    return replace(picture, fence_tested=True)


def _crashed(picture: Picture, event: Event) -> Picture:
    blow = Blow(event.who, event.at, event.names)
    dead = picture.dead_members | {event.who}
    return replace(picture, crashed=blow, dead_members=dead, ruler="")


def _ended(picture: Picture, event: Event) -> Picture:
    picture = _no_leader(picture, event.who)
    known = picture.hands.get(event.who)
    if known is not None and known.state == "killed":
        return picture  # keeps the job that it died with
    return _hand(picture, event, state="gone", job="", token=0)


def _curtain(picture: Picture, _event: Event) -> Picture:
    return replace(picture, closing=True)


_CHANGES: dict[str, Callable[[Picture, Event], Picture]] = {
    "begun": _begun,
    "cluster": _cluster,
    "rules": _rules,
    "candidates": _candidates,
    "registered": _registered,
    "ready": _ready,
    "elected": _elected,
    "handed": _handed,
    "took": _took,
    "wrote": _wrote,
    "found": _found,
    "lost": _lost,
    "killed": _killed,
    "late": _late,
    "crashed": _crashed,
    "ended": _ended,
    "curtain": _curtain,
}
