"""The properties: pure functions over a History; each gives what contradicts it, nothing when all is well.

    exclusion   nobody believed in a hold, or was promised one, beside one who excludes it
    notice      a loss was known before the next grant: until the end of what it was promised nobody else was
                in, and one whose key was taken learned of it within a ttl
    tokens      of two that exclude each other, the later one has the greater token
    fifo        nobody went in past one who stood in the line before it, unless both may be in
    liveness    whoever was patient got in
    orphans     nothing was left behind

Which of two came first is never guessed: see `history` for what its times prove.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tests.properties.history import History, Visit, Wish

__all__ = ["PROPERTIES", "broken"]

Checker = Callable[[History], Iterator[str]]


def exclusion(history: History) -> Iterator[str]:
    """At each grant look at all who were in: by what they saw and, where they lost nothing, were promised."""

    def until(visit: Visit) -> float:
        return visit.ours_until if visit.told is None else visit.seen_until

    for _, inside in _together(history, until):
        yield f"in at once: {_names(inside)}"


def notice(history: History) -> Iterator[str]:
    """At each grant look at those who lost, by what they had been promised; and at the time bad news took."""
    for visit, inside in _together(history, lambda visit: visit.ours_until):
        unaware = [v for v in inside if v.told is not None]
        if unaware:
            yield f"{visit.who} was in while it was promised to others: {_names(unaware)}"
    for visit in history.visits:
        if visit.granted is not None:
            yield from _late_news(visit, history.ttl)


def _together(
    history: History, until: Callable[[Visit], float]
) -> Iterator[tuple[Visit, list[Visit]]]:
    """Give who went in, with all who were in at that moment, where the rule forbids it."""
    entered = sorted((v for v in history.visits if v.granted is not None), key=_granted)
    inside: list[Visit] = []
    for visit in entered:
        moment = _granted(visit)
        inside = [v for v in inside if moment < until(v)]
        if visit.was_in and not history.may(_wishes([*inside, visit])):
            yield visit, [*inside, visit]
        inside.append(visit)


def _late_news(visit: Visit, ttl: float) -> Iterator[str]:
    if visit.taken is None or visit.killed is not None:
        return
    # The keeper asks every ttl/3; on a machine that stands still for a while, all of this takes that longer.
    # One request more that a busy member answers late (a second, by the client's default) is the member's.
    limit = max(visit.taken, _granted(visit)) + ttl + 1.0 + visit.pause
    known = visit.told if visit.told is not None else visit.believed
    if known > limit:
        yield f"{visit.who} still believed to hold {known - visit.taken:.2f} s after its key was taken"


def tokens(history: History) -> Iterator[str]:
    """Compare each with the highest token before it, of those that may not be in together with it."""
    highest: dict[Wish, Visit] = {}
    for later in sorted((visit for visit in history.visits if visit.was_in), key=_granted):
        for earlier in list(highest.values()):
            if earlier.token >= later.token and not history.may(_wishes([earlier, later])):
                yield (
                    f"{later.who} has token {later.token}, {earlier.who} before it had {earlier.token}"
                )
        if later.wish not in highest or highest[later.wish].token <= later.token:
            highest[later.wish] = later


def fifo(history: History) -> Iterator[str]:
    """At each grant look at all who stood ahead, in or still waiting, and were there to go in later."""
    placed = [v for v in history.visits if v.place is not None and v.granted is not None]
    for visit in filter(lambda v: v.was_in, placed):
        ahead = [v for v in placed if _place(v) < _place(visit) and v.ours_until > _granted(visit)]
        passed = [v for v in ahead if _granted(v) > _granted(visit)]
        if passed and not history.may(_wishes([*ahead, visit])):
            yield f"{visit.who} (place {visit.place}) went in past {_names(passed)}"


def liveness(history: History) -> Iterator[str]:
    """Whoever was patient, and was not killed or robbed of its place, must have been let in, and in time."""
    for visit in history.visits:
        excused = visit.killed is not None or visit.taken is not None
        if not visit.patient or excused:
            continue
        if visit.late is not None:
            yield f"{visit.who} was not let in within {visit.late:g} s"
        elif visit.granted is None:
            yield f"{visit.who} was not let in: {visit.why or 'it still waits'}"


def orphans(history: History) -> Iterator[str]:
    """Nothing may be left below the name when all have ended."""
    if history.left_behind:
        yield f"left behind: {', '.join(history.left_behind)}"


PROPERTIES: dict[str, Checker] = {
    "exclusion": exclusion,
    "notice": notice,
    "tokens": tokens,
    "fifo": fifo,
    "liveness": liveness,
    "orphans": orphans,
}


def broken(history: History) -> dict[str, list[str]]:
    """Give the properties that the history contradicts, with what contradicts them."""
    found = {name: list(check(history)) for name, check in PROPERTIES.items()}
    return {name: faults for name, faults in found.items() if faults}


def _granted(visit: Visit) -> float:
    assert visit.granted is not None
    return visit.granted


def _place(visit: Visit) -> int:
    assert visit.place is not None
    return visit.place


def _wishes(visits: Sequence[Visit]) -> list[Wish]:
    return [visit.wish for visit in visits]


def _names(visits: Sequence[Visit]) -> str:
    return ", ".join(f"{v.who} (token {v.token})" for v in visits)
