"""What must be so: pure functions over the story of a run. Each gives what contradicts it.

register       elements in etcd: none acknowledged is lost, none invented, none doubled; one chain
outside        the same in the table and the file
tokens of writes   what was let in by a fence came in the order of tokens: fenced overlaps are 0
linearizable   the registers
exclusion, notice, tokens   of everything held, as `tests.properties.checkers` has them
watchers       each log equals the server's history: no gap, no repeat, no going back; a resync is announced
observers      leaders come in the order of their places
double barrier, barrier, latch   nobody gets through before all are there, or while it is closed
registry       converged, with the latest payload, and nobody who is gone
liveness       after the healing everybody gets in, through, and elected, in time
members        all members have the same
no crash       no worker ended by an error that is not the library's
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

from tests.properties.checkers import PROPERTIES
from tests.properties.history import History
from tests.properties.subjects import SUBJECTS
from tests.torture.acts import PARTIES, PREFIX, TTL
from tests.torture.linear import first_contradiction
from tests.torture.result import Check
from tests.torture.story import Act, Story, operations

__all__ = ["CHECKS", "CONVERGED", "LIVELY", "check_all"]

CONVERGED = 10.0
"""Seconds after the healing within which all views show the same."""

LIVELY = 2 * TTL + 5.0
"""Seconds after the healing within which everybody gets in."""

SHOWN = 8
"""So many contradictions of one check are told."""

Finding = Callable[[Story, "Counter"], Iterator[str]]


class Counter:
    """How much a check has looked at."""

    def __init__(self) -> None:
        self.looked_at = 0

    def see(self, number: int = 1) -> None:
        self.looked_at += number


CHECKS: dict[str, Finding] = {}


def check(name: str) -> Callable[[Finding], Finding]:
    def register(finding: Finding) -> Finding:
        CHECKS[name] = finding
        return finding

    return register


def check_all(story: Story) -> tuple[Check, ...]:
    """Carry out all checks."""
    made = []
    for name, finding in CHECKS.items():
        counter = Counter()
        found = list(finding(story, counter))
        shown = tuple(found[:SHOWN])
        made.append(Check(name, not found, counter.looked_at, len(found), shown))
    return tuple(made)


# -- what was written --------------------------------------------------------------------------------------------


def _swaps(story: Story, kind: str) -> dict[str, list[Act]]:
    by_line: dict[str, list[Act]] = defaultdict(list)
    for act in story.acts:
        if act.kind == kind:
            by_line[act.on].append(act)
    return by_line


def _compared(line: str, acts: list[Act], there: set[str]) -> Iterator[str]:
    """Compare what was acknowledged and what may be with what is there."""
    ok = {act.id for act in acts if act.outcome == "ok"}
    unknown = {act.id for act in acts if act.outcome == "unknown"}
    for element in sorted(ok - there):
        yield f"{line}: {element} was acknowledged and is lost"
    for element in sorted(there - ok - unknown):
        yield f"{line}: {element} is there, though it was never written, or refused"


@check("register")
def register(story: Story, counter: Counter) -> Iterator[str]:
    swaps = _swaps(story, "swap")
    for line in sorted({*swaps, *story.final.elements}):
        there = story.final.elements.get(line, {})
        counter.see(len(there))
        yield from _compared(line, swaps[line], set(there))
        for element, (_, times) in there.items():
            if times != 1:
                yield f"{line}: {element} was written {times} times"
        chain = _chain(there, story.final.registers.get(line, ""))
        if set(chain) != set(there):
            yield f"{line}: {len(set(there) - set(chain))} elements were overwritten unseen"


def _chain(there: Any, last: str) -> list[str]:
    """Give the elements from the last to the first, each after the one that it took the place of."""
    chain: dict[str, None] = {}
    while last in there and last not in chain:
        chain[last] = None
        last = there[last][0]
    return list(chain)


@check("outside")
def outside(story: Story, counter: Counter) -> Iterator[str]:
    writes = _swaps(story, "outside")
    for line in sorted({*writes, *story.final.outside}):
        there = story.final.outside.get(line, [])
        counter.see(len(there))
        yield from _compared(line, writes[line], set(there))
        for element in sorted({e for e in there if there.count(e) > 1}) if _doubled(there) else ():
            yield f"{line}: {element} was written more than once"


def _doubled(there: list[str]) -> bool:
    return len(set(there)) != len(there)


@check("tokens of writes")
def tokens_of_writes(story: Story, counter: Counter) -> Iterator[str]:
    """In the order in which a resource let them in, tokens never go back."""
    tokens = {act.id: act.token for act in story.acts}
    for line, there in story.final.elements.items():
        order = _chain(there, story.final.registers.get(line, ""))[::-1]
        yield from _ordered(f"{line} in etcd", order, tokens, counter)
    for line, order in story.final.outside.items():
        yield from _ordered(f"{line} outside", order, tokens, counter)


def _ordered(
    where: str, order: list[str], tokens: dict[str, int], counter: Counter
) -> Iterator[str]:
    highest = 0
    for element in order:
        counter.see()
        token = tokens.get(element, 0)
        if token < highest:
            yield f"{where}: {element} came in with token {token}, after {highest}"
        highest = max(highest, token)


@check("linearizable")
def linearizable(story: Story, counter: Counter) -> Iterator[str]:
    for line in sorted({act.on for act in story.acts if act.kind == "swap"}):
        history = operations(story.acts, line)
        counter.see(len(history))
        if (bad := first_contradiction(history)) is not None:
            yield f"{line}: nothing explains {bad}"


# -- what was held -----------------------------------------------------------------------------------------------


def _property(name: str) -> None:
    @check(name)
    def finding(story: Story, counter: Counter) -> Iterator[str]:
        for line, visits in story.visits.items():
            history = History(tuple(visits), SUBJECTS[line.partition("/")[2]].may, TTL)
            counter.see(sum(visit.granted is not None for visit in visits))
            for fault in PROPERTIES[name](history):
                yield f"{line}: {fault}"


for _name in ("exclusion", "notice", "tokens"):
    _property(_name)


# -- what was watched --------------------------------------------------------------------------------------------


@check("watchers")
def watchers(story: Story, counter: Counter) -> Iterator[str]:
    logs: dict[str, _Log] = {}
    possible = _possible(story)
    for line in story.by("resync", "seen"):
        log = logs.setdefault(line["watcher"], _Log(line["watcher"]))
        if line["e"] == "resync":
            log.resync(line)
            continue
        for key, text, version, revision in line["events"]:
            counter.see()
            yield from log.take(key, text, version, revision)
            if (key, text) not in possible:
                yield f"{log.name}: {key} {text} was never written, or refused"
    puts = [line for line in story.by("put") if line["outcome"] == "ok"]
    alive = {line["w"] for line in story.by("ended")}
    for log in logs.values():
        yield from log.compare(puts)
        if log.name.partition("/")[0] in alive:
            yield from log.at_the_end(story.final.watched)


def _possible(story: Story) -> set[tuple[str, str]]:
    """Give the numbered values that were tried and not refused."""
    tried = {(f"{PREFIX}{line['w']}", str(line["n"])) for line in story.by("puts")}
    refused = {(p["key"], str(p["n"])) for p in story.by("put") if p["outcome"] == "refused"}
    return tried - refused


class _Log:
    """What one watcher has seen: for each key, how far it is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.there: dict[str, tuple[int, str]] = {}
        self.revision = 0
        self.seen: dict[int, str] = {}
        self.blind: list[tuple[int, int]] = []  # what lies between two revisions was never promised
        self.repeated = self.missing = self.out_of_order = self.resyncs = 0

    def resync(self, line: Any) -> None:
        self.blind.append((self.revision, line["revision"]))
        self.revision = line["revision"]
        self.there = {key: (version, text) for key, (version, text) in line["there"].items()}
        self.resyncs += 1

    def take(self, key: str, text: str, version: int, revision: int) -> Iterator[str]:
        before, _ = self.there.get(key, (0, ""))
        if revision < self.revision or version <= before:
            kind = "again" if self.seen.get(revision) == key else "out of order"
            self.repeated += kind == "again"
            self.out_of_order += kind != "again"
            yield f"{self.name}: {key} at revision {revision} came {kind}, after {self.revision}"
        elif version != before + 1:
            self.missing += version - before - 1
            yield f"{self.name}: {key} goes from version {before} to {version}"
        self.revision = max(self.revision, revision)
        self.there[key] = (max(version, before), text)
        self.seen[revision] = key

    def compare(self, puts: list[Any]) -> Iterator[str]:
        """Every write that was acknowledged at a revision that this log covers is in it, there."""
        for put in puts:
            revision = put["revision"]
            if revision > self.revision or any(a < revision <= b for a, b in self.blind):
                continue
            if self.seen.get(revision) != put["key"]:
                self.missing += 1
                yield f"{self.name}: {put['key']} {put['n']} at revision {revision} is missing"

    def at_the_end(self, watched: Any) -> Iterator[str]:
        for key, (version, text) in watched.items():
            if self.there.get(key) != (version, text):
                yield f"{self.name}: {key} ends at {self.there.get(key)}, and is {(version, text)}"


def logs_of(story: Story) -> list[_Log]:
    """Give the logs of all watchers, with what is wrong with them counted."""
    logs: dict[str, _Log] = {}
    for line in story.by("resync", "seen"):
        log = logs.setdefault(line["watcher"], _Log(line["watcher"]))
        if line["e"] == "resync":
            log.resync(line)
        else:
            for event in line["events"]:
                list(log.take(*event))
    for log in logs.values():
        list(log.compare([line for line in story.by("put") if line["outcome"] == "ok"]))
    return list(logs.values())


@check("observers")
def observers(story: Story, counter: Counter) -> Iterator[str]:
    highest: dict[str, int] = defaultdict(int)
    for line in story.by("observed"):
        counter.see()
        created = line["created"]
        if created is not None and created < highest[line["w"]]:
            yield f"{line['w']}: leader {created} on {line['line']} after {highest[line['w']]}"
        highest[line["w"]] = max(highest[line["w"]], created or 0)


# -- gates -------------------------------------------------------------------------------------------------------


def _gates(story: Story, gate: str) -> dict[str, list[Act]]:
    by_gate: dict[str, list[Act]] = defaultdict(list)
    for act in story.acts:
        if act.on.partition("/")[2] == gate and "gate" in act.more:
            by_gate[act.on].append(act)
    return by_gate


@check("double barrier")
def double_barrier(story: Story, counter: Counter) -> Iterator[str]:
    for gate, acts in _gates(story, "double").items():
        rounds: dict[int, list[Act]] = defaultdict(list)
        leaving: dict[int, list[Act]] = defaultdict(list)
        for act in acts:
            if act.kind == "enter" and act.outcome == "ok":
                rounds[act.value].append(act)
            elif act.kind == "leave":
                leaving[act.more["of"]].append(act)
        for number, inside in rounds.items():
            counter.see()
            yield from _one_round(f"{gate} round {number}", inside, leaving[number])


def _one_round(what: str, inside: list[Act], leaving: list[Act]) -> Iterator[str]:
    if len(inside) > PARTIES:
        yield f"{what}: {len(inside)} went in, for {PARTIES}"
    first_in = min(act.returned for act in inside)
    for act in inside:
        if act.called > first_in:
            yield f"{what}: somebody was in at {first_in:.3f}, before {act.who} came"
    left = [act for act in leaving if act.outcome == "ok"]
    for act in left:
        slow = [other.who for other in leaving if other.called > act.returned]
        if slow:
            yield f"{what}: {act.who} was out before {', '.join(slow)} began to leave"
    if left and len(inside) == PARTIES and len(leaving) < PARTIES:
        yield f"{what}: {left[0].who} was out, and not all had begun to leave"


@check("barrier")
def barrier(story: Story, counter: Counter) -> Iterator[str]:
    """Nobody passes while it is certainly closed: from an acknowledged closing to the next opening's begin."""
    for gate, acts in _gates(story, "barrier").items():
        openings = [act for act in acts if act.kind == "release"]
        closed = []
        for act in acts:
            if act.kind == "hold" and act.outcome == "ok" and act.value:
                opened = min((o.called for o in openings if o.returned > act.called), default=inf)
                closed.append((act.returned, opened, act.who))
        for act in acts:
            if act.kind != "wait" or act.outcome != "ok":
                continue
            counter.see()
            for since, until, who in closed:
                if since < act.called and act.returned < until:
                    yield f"{gate}: {act.who} passed at {act.returned:.3f}, while {who} held it"


@check("latch")
def latch(story: Story, counter: Counter) -> Iterator[str]:
    """Nobody passes before all have begun to count down."""
    slots = {line["w"]: (line["api"], line["slot"]) for line in story.by("started")}
    parties = defaultdict(set)
    for api, slot in slots.values():
        parties[api].add(slot)
    for gate, acts in _gates(story, "latch").items():
        began: dict[tuple[int, str], float] = {}
        for act in acts:
            if act.kind == "count":
                place = act.more["of"], slots[act.who][1]
                began[place] = min(began.get(place, inf), act.called)
        for act in acts:
            if act.kind != "wait" or act.outcome != "ok":
                continue
            counter.see()
            number = act.more["of"]
            for slot in parties[gate.partition("/")[0]]:
                if began.get((number, slot), inf) > act.returned:
                    yield f"{gate} {number}: {act.who} passed before {slot} had counted"


# -- after the healing -------------------------------------------------------------------------------------------


@check("registry")
def registry(story: Story, counter: Counter) -> Iterator[str]:
    apis = {line["w"]: line["api"] for line in story.by("started")}
    shown = {line["w"]: line for line in story.by("view")}
    for who in sorted(story.alive):
        counter.see()
        wanted = {other for other in story.alive if apis[other] == apis[who]}
        if who not in shown:
            yield f"{who} has seen no list at all"
        elif (there := set(shown[who]["there"])) != wanted:
            yield f"{who} sees {sorted(there)} at the end, and {sorted(wanted)} are there"
    for who, at in converged(story).items():
        counter.see()
        yield from _old(who, shown[who]["there"], story)
        if at > CONVERGED:
            yield f"{who} had converged only {at:.1f} s after the healing"


def _old(who: str, there: dict[str, str], story: Story) -> Iterator[str]:
    """Each view ends at what every instance has published last."""
    last = {line["w"]: line["n"] for line in story.by("publishes")}
    for other, number in there.items():
        if other in last and number != str(last[other]):
            yield f"{who} sees {number} of {other}, which has published {last[other]}"


def converged(story: Story) -> dict[str, float]:
    """Give how long after the healing each view showed who is there, and nobody else, and went on to do so."""
    apis = {line["w"]: line["api"] for line in story.by("started")}
    last: dict[str, float] = {}
    for line in story.by("view"):
        who = line["w"]
        wanted = {other for other in story.alive if apis[other] == apis[who]}
        if set(line["there"]) != wanted:
            last.pop(who, None)
        else:
            last.setdefault(who, line["t"])
    return {who: max(0.0, at - story.healed) for who, at in last.items() if who in story.alive}


@check("liveness")
def liveness(story: Story, counter: Counter) -> Iterator[str]:
    """Each worker gets into each line, and through each gate, that it came to after the healing."""
    limit = story.healed + LIVELY
    if story.rested < limit:
        return  # it was not waited for
    for line, visits in story.visits.items():
        after = [
            v for v in visits if v.began > story.healed and v.who.partition("/")[0] in story.alive
        ]
        for who in sorted(story.alive & {v.who.partition("/")[0] for v in after}):
            counter.see()
            times = [v.granted for v in after if v.who.startswith(f"{who}/") and v.granted]
            if min(times, default=inf) > limit:
                yield f"{line}: {who} did not get in within {LIVELY:g} s of the healing"
    for gate in {act.on for act in story.acts if "gate" in act.more}:
        counter.see()
        through = [
            act.returned
            for act in story.acts
            if act.on == gate
            and act.kind in ("enter", "wait")
            and act.called > story.healed
            and act.outcome == "ok"
        ]
        if min(through, default=inf) > limit:
            yield f"{gate}: nobody got through within {LIVELY:g} s of the healing"


@check("members")
def members(story: Story, counter: Counter) -> Iterator[str]:
    answers = list(story.final.members.items())
    counter.see(len(answers))
    for name, answer in answers[1:]:
        if answer != answers[0][1]:
            yield f"{name} and {answers[0][0]} do not have the same"


@check("no crash")
def no_crash(story: Story, counter: Counter) -> Iterator[str]:
    counter.see(len(story.by("started")))
    for line in story.by("crashed", "stuck"):
        yield f"{line.get('who', line['w'])}: {line.get('act', '')} {line.get('why', 'did not end')}"
    for line in story.by("ended"):
        if line["waiting"]:
            yield f"{line['w']}: {len(line['waiting'])} threads did not end"
