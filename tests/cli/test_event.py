from __future__ import annotations

import pytest

from etcd_recipes.cli.demo.event import Event, from_line, to_line


@pytest.mark.parametrize(
    "event",
    [
        Event("curtain", 0.0),
        Event("took", 12.5, "worker-1", job="007", token=81),
        Event("killed", 3.25, "worker-2", token=3, names=("001", "002")),
        Event("ended", 4.0, "worker-2", number=-9),
        Event("trouble", 4.0, "worker-2", text='a "b"\nc \u2192'),
    ],
    ids=lambda event: event.kind,
)
def test_an_event_survives_its_way_as_one_line(event: Event) -> None:
    line = to_line(event)
    assert "\n" not in line
    assert from_line(line) == event


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Traceback (most recent call last):",
        "[]",
        "7",
        "null",
        '{"kind":"took"}',
        '{"nosuch":1}',
    ],
    ids=["empty", "text", "list", "number", "null", "no-time", "unknown"],
)
def test_what_is_no_event_is_none(line: str) -> None:
    assert from_line(line) is None
