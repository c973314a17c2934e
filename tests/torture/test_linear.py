"""The checker of histories agrees with the definition, tried out on thousands of small histories."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import chain, combinations, permutations
from math import inf

from tests.tools import long
from tests.torture.linear import Operation, first_contradiction


def explained(history: Sequence[Operation]) -> bool:
    """By definition: some order of all that returned and of some that did not, which time allows."""
    sure = [op for op in history if op.returned < inf]
    unsure = [op for op in history if op.returned == inf]
    some = chain.from_iterable(combinations(unsure, n) for n in range(len(unsure) + 1))
    return any(is_run(order) for extra in some for order in permutations([*sure, *extra]))


def is_run(order: Sequence[Operation]) -> bool:
    value = ""
    for place, op in enumerate(order):
        if op.old != value or any(later.returned < op.called for later in order[place:]):
            return False
        value = value if op.new is None else op.new
    return True


def drawn(rng: random.Random) -> list[Operation]:
    history = []
    for number in range(rng.randint(1, 5)):
        called = rng.random()
        returned = inf if rng.random() < 0.2 else called + rng.random() * 0.5
        old = rng.choice(["", "", "0", "1", "2"])
        new = None if rng.random() < 0.4 else rng.choice([str(number), "0", "1", ""])
        history.append(Operation(called, returned, old, new))
    return history


def test_it_agrees_with_the_definition() -> None:
    rng = random.Random(7)
    verdicts = {True: 0, False: 0}
    for _ in range(long(4000, 40_000)):
        history = drawn(rng)
        verdict = first_contradiction(history) is None
        assert verdict == explained(history), history
        verdicts[verdict] += 1
    assert min(verdicts.values()) > 500, "one answer only: this shows nothing"


def test_a_long_history_is_looked_through_quickly() -> None:
    """Eight clients, 2 % unknown outcomes, half of which took effect."""
    rng, value, history = random.Random(1), "", []
    for number in range(3000):
        new, unknown = f"e{number}", rng.random() < 0.02
        history.append(Operation(number, number + rng.random() * 8, value))
        history.append(Operation(number, inf if unknown else number + 0.9, value, new))
        value = value if unknown and rng.random() < 0.5 else new
    assert first_contradiction(history) is None


def test_a_lost_update_is_found() -> None:
    first, second = Operation(0, 1, "", "a"), Operation(2, 3, "", "b")
    assert first_contradiction([first, second]) == second


def test_a_stale_read_is_found() -> None:
    write, stale = Operation(0, 1, "", "a"), Operation(2, 3, "")
    assert first_contradiction([write, stale]) == stale


def test_an_unknown_write_may_take_effect_late_or_never() -> None:
    late = Operation(0, inf, "", "a")
    assert first_contradiction([late, Operation(1, 2, ""), Operation(3, 4, "a")]) is None
    assert first_contradiction([late, Operation(1, 2, ""), Operation(3, 4, "")]) is None
    assert first_contradiction([late, Operation(1, 2, "a"), Operation(3, 4, "")]) is not None


def test_an_operation_takes_effect_once() -> None:
    """There and back again, at the same time, leave what was there before."""
    there, back = Operation(0, 10, "", "a"), Operation(0, 10, "a", "")
    assert first_contradiction([there, back, Operation(11, 12, "")]) is None
    assert first_contradiction([there, back, Operation(11, 12, "a")]) is not None
