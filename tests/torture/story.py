"""The story: what the notes of a run come to, put together for the checks. Pure.

An operation that has no return (its worker was killed) is one of unknown outcome. A visit is what
`tests.properties.history` says it is, bounds on the safe side included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from tests.properties.history import Visit, Wish, visit_of
from tests.torture.linear import Operation
from tests.torture.notebook import Line

__all__ = ["Act", "Final", "Story", "tell"]


@dataclass(frozen=True, slots=True)
class Act:
    """One operation: `kind` and `on` say which, `outcome` what came of it."""

    id: str
    who: str
    kind: str
    on: str
    called: float
    returned: float = inf
    outcome: str = "unknown"
    old: str = ""
    token: int = 0
    value: Any = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Final:
    """What was read at the end: by member, and outside of etcd by line (element, token as it was written).

    `elements` are those in etcd by line: element -> (what it took the place of, how often it was written).
    `registers` is what each register holds, `watched` version and value of each watched key. `members` has
    for each member a digest of all it has.
    """

    elements: Mapping[str, Mapping[str, tuple[str, int]]] = field(default_factory=dict)
    registers: Mapping[str, str] = field(default_factory=dict)
    outside: Mapping[str, list[str]] = field(default_factory=dict)
    watched: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Story:
    """Everything that the checks look at."""

    lines: list[Line]
    acts: list[Act]
    visits: dict[str, list[Visit]]  # by line
    final: Final
    healed: float
    rested: float
    ended: float
    alive: set[str]

    def by(self, *events: str) -> list[Line]:
        return [line for line in self.lines if line["e"] in events]


def tell(lines: list[Line], final: Final) -> Story:
    """Put the notes together."""
    marks = {line["e"]: line["t"] for line in lines if line["w"] == "director"}
    return Story(
        lines,
        _acts(lines),
        _visits(lines),
        final,
        marks.get("healed", inf),
        marks.get("resting", inf),
        marks.get("finished", inf),
        {line["w"] for line in lines if line["e"] == "ended"},
    )


def _acts(lines: Iterable[Line]) -> list[Act]:
    called: dict[str, Line] = {}
    returned: dict[str, Line] = {}
    for line in lines:
        if line["e"] in ("call", "gate"):
            called[line["op"]] = line
        elif line["e"] in ("return", "gated"):
            returned[line["op"]] = line
    return [_act(id_, line, returned.get(id_)) for id_, line in called.items()]


def _act(id_: str, call: Line, back: Line | None) -> Act:
    kind = call.get("kind") or call["act"]
    on = call.get("on") or call["gate"]
    act = {
        "id": id_,
        "who": call["w"],
        "kind": kind,
        "on": on,
        "called": call["t"],
        "old": call.get("old", ""),
        "token": call.get("token", 0),
        "more": call,
    }
    if back is None:
        return Act(**act)
    value = back.get("value", back.get("given"))
    return Act(**act, returned=back["t"], outcome=back["outcome"], value=value)


def _visits(lines: Iterable[Line]) -> dict[str, list[Visit]]:
    told: dict[str, list[dict[str, Any]]] = {}
    line_of: dict[str, tuple[str, Wish]] = {}
    open_: dict[str, set[str]] = {}
    taken = {
        (line["key"], line["created"]): {"taken": line["t"], "taken_by": line["revision"] or inf}
        for line in lines
        if line["e"] == "taken"
    }
    for line in lines:
        event, visit = line["e"], line.get("visit", "")
        if event == "began":
            line_of[visit] = line["line"], Wish(**line["wish"])
            told[visit] = [{"began": line["t"]}]
            open_.setdefault(line["w"], set()).add(visit)
        elif event == "granted":
            robbed = taken.get((line["key"], line["place"]), {})
            told[visit].append({**line, "granted": line["t"], **robbed})
        elif event == "leaving":
            told[visit].append({**line["seen"], **({} if line["lost"] else {"leaving": line["t"]})})
        elif event == "gave_up":
            told[visit].append({"gave_up": line["t"], "why": line["why"]})
            open_.get(line["w"], set()).discard(visit)
        elif event == "over":
            open_.get(line["w"], set()).discard(visit)
        elif event == "killed" or (event == "strikes" and line["order"] == "die"):
            for each in open_.pop(line.get("who", line["w"]), ()):
                told[each].append({"killed": line["t"]})
    visits: dict[str, list[Visit]] = {}
    for visit, events in told.items():
        line, wish = line_of[visit]
        visits.setdefault(line, []).append(visit_of(visit, events, wish=wish))
    return visits


def operations(acts: Iterable[Act], line: str) -> list[Operation]:
    """Give the history of the register of this line (see the rules of `linear`)."""
    history = []
    for act in acts:
        if act.on != line or act.kind not in ("read", "swap"):
            continue
        if act.kind == "swap" and act.outcome in ("ok", "unknown"):
            back = act.returned if act.outcome == "ok" else inf
            history.append(Operation(act.called, back, act.old, act.id, act.who))
        elif act.value is not None:
            history.append(Operation(act.called, act.returned, act.value, None, act.who))
    return history
