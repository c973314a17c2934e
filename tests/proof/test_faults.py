"""The fault table holds, and its page says what is so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proof.faults import (
    ALONE,
    CALLS,
    FAULTS,
    SETTINGS,
    NextEvent,
    Place,
    Places,
    check,
    measure,
    outcomes,
)
from tests.tools import long

REPRESENTATIVE = {
    "refused",
    "cut in the headers",
    "black hole",
    "garbage for a body",
    "reply lost",
    "cut off from its cluster",
}


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Places() as place:
        yield place


@pytest.fixture(scope="module")
def written() -> dict[tuple[str, str, str], str]:
    return outcomes()


def test_the_page_has_every_cell(written: dict[tuple[str, str, str], str]) -> None:
    assert set(written) == {(s, f.name, c.name) for s in SETTINGS for f in FAULTS for c in CALLS}


@pytest.mark.timeout(long(120, 600))
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_call_ends_as_the_page_says(
    place: Place, written: dict[tuple[str, str, str], str], setting: str
) -> None:
    faults = long([each for each in FAULTS if each.name in REPRESENTATIVE], list(FAULTS))
    # Alone, a watcher goes on trying until its time is up: five seconds for each fault.
    calls = [each for each in CALLS if each is not NextEvent or setting != ALONE]
    for cell in measure(place, faults, long(calls, list(CALLS)), [setting]):
        check(cell)
        assert cell.outcome == written[setting, cell.fault, cell.call], cell
