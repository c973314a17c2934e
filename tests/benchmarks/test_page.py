"""The page on performance is made of its figures, and of nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import page, tables
from benchmarks.figures import FIGURES
from benchmarks.peers import OURS
from benchmarks.pictures import draw_all
from benchmarks.results import Measured, Results, load, merged, store

ROUNDS = {
    "get": {
        "raw": [{"p50_us": 100.0, "p99_us": 300.0, "cpu_us": 20.0}],
        OURS: [{"p50_us": 150.0, "p99_us": 400.0, "cpu_us": 60.0}],
        "etcd3gw": [{"failed": "KeyError: `a|b`\n"}],
    }
}


def measured(**more: object) -> Measured:
    given = {"made": "2026-11-23", "scale": "full", "machine": "2 cores", "load": 0.0, "seconds": 1.0,
             "versions": {"etcd": "3.5.1"}, "left_out": {"kazoo": "no Java"}, "rounds": ROUNDS}  # fmt: skip
    return Measured(**{**given, **more})  # type: ignore[arg-type]


RESULTS = Results({"latency": measured()})


def test_the_page_and_its_pictures_are_what_the_figures_say(tmp_path: Path) -> None:
    """What is in the repository, written anew from its figures.json, is the same."""
    page.write(page.read(), tmp_path)
    there = {path.name for path in page.FOLDER.iterdir()}
    assert there == {path.name for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        assert path.read_text() == (page.FOLDER / path.name).read_text(), path.name


def test_another_figure_makes_another_page(tmp_path: Path) -> None:
    page.write(RESULTS, tmp_path)
    written = (tmp_path / "index.md").read_text()
    assert "| get | raw | 1.00 | 1.00 | 100 µs | 300 µs | 20 µs |" in written
    assert f"|  | **{OURS}** | 1.50 | 3.00 | 150 µs | 400 µs | 60 µs |" in written
    assert "| get: p50, x floor | at most 1.5 | 1.5 | reached |" in written
    assert {path.name for path in tmp_path.glob("*.svg")} == set(draw_all(RESULTS))
    page.write(Results(), tmp_path)
    assert list(tmp_path.glob("*.svg")) == []
    assert (tmp_path / "index.md").read_text().count(tables.NOTHING) == len(FIGURES) + 1


def test_what_failed_or_is_not_here_is_said_and_cannot_break_the_table() -> None:
    written = tables.figure(FIGURES["latency"], RESULTS.figures["latency"])
    assert "|  | etcd3gw | failed: KeyError: \\`a\\|b\\`" in written
    assert "Not here: kazoo, no Java" in written
    rows = [line.replace("\\|", "") for line in written.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1


def test_figures_of_a_busy_machine_are_called_that() -> None:
    assert "busy" not in tables.provenance(RESULTS)
    busy = tables.provenance(Results({"latency": measured(load=2.9)}))
    assert "**The machine was busy**" in busy
    assert "| **2.9** |" in busy


def test_versions_are_those_of_the_run_and_both_where_there_were_two() -> None:
    newer = measured(versions={"etcd": "3.4.23", "kazoo": "kazoo==9"})
    written = tables.provenance(Results({"latency": measured(), "pairs": newer}))
    assert "- **etcd**: 3.5.1 and 3.4.23\n- **kazoo**: kazoo==9 (" in written


def test_figures_are_stored_and_a_new_one_replaces_the_old() -> None:
    assert load(store(RESULTS)) == RESULTS
    newer = Results({"latency": measured(made="2026-12-01")})
    both = merged(Results({**RESULTS.figures, "pairs": measured()}), newer)
    assert (both.figures["latency"].made, list(both.figures)) == (
        "2026-12-01",
        ["latency", "pairs"],
    )
    with pytest.raises(ValueError, match="schema"):
        load('{"schema": 0, "figures": {}}')


def test_pictures_take_the_colour_of_their_page() -> None:
    (drawn, _) = draw_all(RESULTS).values()
    assert not re.search(r'<text[^>]*fill="(?!currentColor)', drawn)
    assert "etcd-recipes: 1.50" in drawn
