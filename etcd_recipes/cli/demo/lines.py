"""Events as lines of text: one event, one line, with the seconds since the beginning.

Rules of this file
1. Pure but for `Lines`, which writes them. ASCII only and no colours: lines go into pipes and files.
2. Every line says who did what; what happens to the election or to etcd says what it means, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

import click

from etcd_recipes.cli.demo.event import Event
from etcd_recipes.cli.demo.plot import now_playing
from etcd_recipes.cli.demo.story import Picture

__all__ = ["Lines", "is_turn", "stamped"]

_TURNS = frozenset({
    "cluster", "rules", "elected", "killed", "late", "crashed", "lost", "found", "refused",
    "trouble", "curtain",
})  # fmt: skip


def is_turn(event: Event, picture: Picture) -> bool:
    """Tell whether the event is a turn of the story; all else is daily work, for when there is room."""
    if event.kind == "took":
        return _is_inherited(event, picture)
    return event.kind in _TURNS


def stamped(event: Event, picture: Picture) -> str | None:
    """Give the line for an event, with its time; `picture` is the one after it. None: nothing to say."""
    say = _SENTENCES.get(event.kind)
    if say is None:
        return None
    who = event.who or _TELLERS.get(event.kind, "demo")
    return f"{max(0.0, event.at - picture.began):6.2f} s  {who:<9} {say(event, picture)}"


_TELLERS = {"candidates": "election", "registered": "registry", "cluster": "etcd"}


def _is_inherited(event: Event, picture: Picture) -> bool:
    return picture.killed is not None and picture.hands[picture.killed.who].job == event.job


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"


def _begun(event: Event, picture: Picture) -> str:
    plan = picture.plan
    return (
        f"{plan.workers} workers, {plan.jobs} jobs, ttl {plan.ttl} s, seed {plan.seed}; "
        f"on {event.text}"
    )


def _rules(event: Event, picture: Picture) -> str:
    crashed = picture.crashed
    if crashed is None:
        return "leads the etcd cluster"
    return f"leads the etcd cluster, {event.at - crashed.at:.2f} s after the kill"


def _candidates(event: Event, _picture: Picture) -> str:
    if not event.names:
        return "nobody stands for election"
    first, *others = event.names
    return f"first in line: {first}; behind: {_list(tuple(others))}"


def _started(event: Event, _picture: Picture) -> str:
    return f"started as process {event.number}"


def _ready(event: Event, _picture: Picture) -> str:
    return f"registered itself (lease {event.number} s) and stands for election"


def _elected(event: Event, picture: Picture) -> str:
    killed, after = picture.killed, ""
    if killed is not None and picture.taken_over == event.at - killed.at:
        after = f": takes over {picture.taken_over:.2f} s after the kill"
    return f"LEADS under token {event.token}{after}"


def _handed(event: Event, _picture: Picture) -> str:
    return f"hands out job {event.job} (token {event.token})"


def _took(event: Event, picture: Picture) -> str:
    killed, again = picture.killed, ""
    if killed is not None and _is_inherited(event, picture):
        again = f", which {killed.who} died with"
    return f"takes job {event.job} under lock token {event.token}{again}"


def _wrote(event: Event, picture: Picture) -> str:
    return f"has done job {event.job}: {len(picture.done)} of {picture.plan.jobs} in the ledger"


def _found(event: Event, _picture: Picture) -> str:
    return f"finds job {event.job} in the ledger: done before, only its key was left"


def _refused(event: Event, _picture: Picture) -> str:
    what = f"job {event.job}" if event.job else "the term"
    return f"is refused by the ledger: {what}, token {event.token}, seen {event.number}"


def _lost(event: Event, _picture: Picture) -> str:
    what = f"the lock of job {event.job}" if event.job else "the leadership"
    why = event.text.partition(": ")[2]  # after the key, which says little
    return f"lost {what}: {why or event.text}"


def _killed(event: Event, _picture: Picture) -> str:
    return f"KILLED (-9) while leading; jobs running: {_list(event.names)}"


def _late(event: Event, _picture: Picture) -> str:
    if event.text:
        return f"TROUBLE: a late write in its name (token {event.token}) was NOT refused"
    return f"a late write in its name (token {event.token}) is refused: {event.number} seen"


def _crashed(event: Event, _picture: Picture) -> str:
    return f"KILLED (-9) while leading etcd; jobs running: {_list(event.names)}"


def _ended(event: Event, _picture: Picture) -> str:
    if event.number < 0:
        return f"is gone, by signal {-event.number}"
    return f"ended with status {event.number}" if event.number else "is gone"


def _curtain(_event: Event, picture: Picture) -> str:
    done, jobs = len(picture.done), picture.plan.jobs
    what = "all jobs are done" if done >= jobs else f"only {done} of {jobs} jobs are done"
    return f"{what}; the workers are asked to leave"


_SENTENCES: dict[str, Callable[[Event, Picture], str]] = {
    "begun": _begun,
    "cluster": lambda event, _: f"ready: {event.text}",
    "rules": _rules,
    "candidates": _candidates,
    "registered": lambda event, _: f"{len(event.names)} registered: {_list(event.names)}",
    "started": _started,
    "ready": _ready,
    "elected": _elected,
    "handed": _handed,
    "took": _took,
    "wrote": _wrote,
    "found": _found,
    "refused": _refused,
    "lost": _lost,
    "killed": _killed,
    "late": _late,
    "crashed": _crashed,
    "ended": _ended,
    "trouble": lambda event, _: f"TROUBLE: {event.text}",
    "curtain": _curtain,
}


class Lines:
    """Shows a run as lines on `stream`."""

    def __init__(self, stream: TextIO, *, may_kill_member: bool) -> None:
        self._stream = stream
        self._may_kill_member = may_kill_member
        self._playing = ""

    def tell(self, event: Event, picture: Picture) -> None:
        """Write the event's line, and before it what is going on, when that is new."""
        playing = now_playing(picture, may_kill_member=self._may_kill_member)
        line = stamped(event, picture)
        if line is not None:
            click.echo(line, self._stream)
        if playing != self._playing:
            self._playing = playing
            click.echo(f"          --- {playing}", self._stream)

    def refresh(self, picture: Picture, now: float) -> None:
        """Nothing: lines stay as they are."""
