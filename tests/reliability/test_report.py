"""The report says what was measured, all of it, and that it is good; nothing that is bad can look good in it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.reliability import gather, publish
from tests.reliability.figures import draw_all
from tests.reliability.findings import FINDINGS
from tests.reliability.report import CutOff, Planted, Report, Run, Simulation, load, run_of, store
from tests.reliability.tables import ASKED, PARTS, is_green
from tests.torture import result as torture
from tests.torture.checks import CHECKS
from tests.torture.result import (
    Check,
    Fault,
    Gaps,
    Holding,
    Latency,
    Operations,
    Result,
    Takeover,
    Watching,
)

ROOT = Path(__file__).parents[2]
PAGE = publish.FOLDER / publish.PAGE


# -- the report that is there ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published() -> Report:
    return publish.read()


def test_page_and_pictures_are_what_the_json_gives(published: Report) -> None:
    page = PAGE.read_text()
    assert publish.page(published, page) == page, (
        "write it anew: python -m tests.reliability --from"
    )
    pictures = {path.name: path.read_text() for path in publish.FOLDER.glob("*.svg")}
    assert pictures == draw_all(published)
    assert set(re.findall(r"^:file: (.*)$", page, re.MULTILINE)) == set(pictures)
    assert set(re.findall(r"^<!-- generated: (.*) -->$", page, re.MULTILINE)) == set(PARTS)


def test_all_verdicts_are_good(published: Report) -> None:
    assert list(is_green(published)) == []


def test_the_report_is_whole(published: Report) -> None:
    if published == Report():
        pytest.skip("no report has been made yet: make torture-report")
    assert [run.result.etcd for run in published.torture] == ["3.5.1", "3.4.23"]
    assert min(run.result.seconds for run in published.torture) >= 580, "ten minutes, on each"
    assert sum(each.seeds for each in published.simulation) >= 1000
    assert len({bug.name for bug in published.planted}) >= 12
    assert [each.etcd for each in published.cut_off] == ["3.5.1", "3.4.23"]


def commands(report: Report) -> set[str]:
    """Give every command that the pages or the report name."""
    pages = PAGE.read_text() + (publish.FOLDER / "index.md").read_text()
    said = re.findall(r"python (-m tests\.[^`#\n]*)", pages)
    made = [run.result.command for run in report.torture] + [s.command for s in report.simulation]
    return {line.strip() for line in said} | {command.partition(" ")[2] for command in made}


def test_every_command_that_is_named_is_there(published: Report) -> None:
    found = commands(published)
    assert found
    for command in found:
        _, module, *arguments = command.split()
        place = ROOT / module.replace(".", "/")
        program = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
        source = program.read_text()
        for option in re.findall(r"--[a-z]+", " ".join(arguments)):
            assert f'"{option}"' in source, f"{command}: {module} does not know {option}"
    assert "\ntorture-report:" in (ROOT / "Makefile").read_text()


def test_every_finding_has_its_seed_in_a_test_that_is_there() -> None:
    for finding in FINDINGS:
        path, _, name = finding.test.partition("::")
        source = (ROOT / path).read_text()
        assert re.search(rf"def {name}\b", source), finding
        beside = [p.read_text() for p in (ROOT / "tests").glob("*/regressions.py")]
        assert any(re.search(rf"\b{finding.seed}\b", text) for text in (source, *beside)), finding


# -- reports made up for this ------------------------------------------------------------------------------------

NAMES = tuple(CHECKS)


def a_result(etcd: str = "3.5.1", **changed: Any) -> Result:
    """Give a run in which a holder of a lock is overtaken at second 40."""
    holdings = [Holding("v3/lock", "a0.1", 5 + n, n, n + 0.1, "released") for n in range(40)]
    holdings += [
        Holding("v3/lock", "a1.1", 100, 40.0, 44.0, "lost"),
        Holding("v3/lock", "a0.1", 101, 42.5, 42.6, "released"),
        Holding("v3/rwlock", "a2.1", 99, 41.0, 41.1, "released"),
        Holding("v3/rwlock", "a0.1", 102, 60.0, 64.0, "lost"),
        Holding("v3/lock", "a0.1", 103, 90.0, 99.0, "released"),
    ]
    good: dict[str, Any] = {
        "verdict": "passed",
        "why": (),
        "project": "1.0",
        "etcd": etcd,
        "python": "3.11",
        "seed": 7,
        "command": "python -m tests.torture --minutes 10 --seed 7",
        "places": "network namespaces",
        "planted": "",
        "ttl": 2.0,
        "seconds": 600.0,
        "workers": {"v3": 5},
        "skipped": {},
        "faults": (Fault("holder paused", "a1.1", 40.0, 44.0), Fault("loss", "m0 & m1", 1.0, 3.0)),
        "operations": {"v3/lock": Operations(43, 2, 1), "swap": Operations(40, 1, 2, 1)},
        "checks": tuple(Check(name, True, 10) for name in NAMES),
        "gaps": (Gaps("loss", 0.5, 0.9, (0.1, 0.5, 0.9)),),
        "takeovers": (Takeover("calm", 5.0, 2.2),),
        "late_writes_refused": 3,
        "overlaps_unfenced": {"v3/lock": 1},
        "overlaps_fenced": 0,
        "histories": 1,
        "history_operations": 10,
        "converged": {"a0": 1.0},
        "watching": Watching(1, 10, 10),
        "holdings": tuple(holdings),
        "latencies": tuple(Latency(n, 5, 0.1 * (n % 7)) for n in range(60)),
    }
    return Result(**{**good, **changed})


def a_report(**changed: Any) -> Report:
    return Report(
        "2026-01-01",
        "2 processors",
        tuple(run_of(a_result(etcd, **changed)) for etcd in ("3.5.1", "3.4.23")),
        (
            Simulation(
                "python -m tests.simulation", "v3", 10, 120.0, 0.3, 50.0, 9, 9, 9, {"reply lost": 2}
            ),
        ),
        (
            Planted("no_fence", "Writes without a token", "simulation", ("late write",), 3.0),
            Planted("no_fence", "Writes without a token", "torture", ("register",)),
        ),
        (CutOff("3.5.1", (3.9,), (3.1,), 20.0, 8000, 134, 0, 0, 0),),
    )


def test_json_and_back() -> None:
    report = a_report()
    assert load(store(report)) == report
    assert load(store(Report())) == Report()
    with pytest.raises(ValueError, match="schema"):
        load('{"schema": 0}')


def test_the_close_up_is_of_a_holder_that_was_overtaken_and_of_its_line_alone() -> None:
    run = run_of(a_result())
    assert run.line == "v3/lock"
    assert run.since < 40.0 < 44.0 < run.until
    assert {holding.token for holding in run.result.holdings} == {*range(39, 45), 100, 101}
    assert run_of(run.result).result == run.result
    calm = run_of(a_result(holdings=(Holding("v3/lock", "a0.1", 1, 3.0, 4.0, "released"),)))
    assert calm.since == 0.0
    assert run_of(a_result(holdings=())) == Run(a_result(holdings=()), 0.0, 30.0, "")


def test_pictures_are_well_formed_and_take_the_colour_of_their_page() -> None:
    for name, drawn in draw_all(a_report()).items():
        ET.fromstring(drawn)
        assert not re.search(r'<text[^>]*fill="(?!currentColor)', drawn), name
    assert set(draw_all(Report())) == set()


def test_every_figure_stands_in_the_page(tmp_path: Path) -> None:
    publish.write(a_report(), tmp_path)
    page = (tmp_path / publish.PAGE).read_text()
    for words in ("**passed**", "0 / 0 / 0", "0.50, 0.90 s (3)", "1.10, 1.10 ttl (1)", "134"):
        assert words in page, words
    assert "3 seeds: late write" in page
    assert publish.read(tmp_path) == a_report()
    (tmp_path / "outdated.svg").touch()
    publish.write(Report(), tmp_path)
    assert not list(tmp_path.glob("*.svg"))
    assert "**passed**" not in (tmp_path / publish.PAGE).read_text()


def test_every_check_is_explained() -> None:
    assert set(ASKED) == set(NAMES)


BROKEN = tuple(
    Check(name, name != "register", 10, found=("v3/lock: x is lost",) * (name == "register"))
    for name in NAMES
)


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({"verdict": "void", "why": ("no 'loss'",)}, "**void**: no 'loss'"),
        ({"checks": BROKEN}, "**no**: v3/lock: x is lost"),
        ({"late_writes_refused": 0}, "late writes that the fence refused | 0"),
        ({"overlaps_fenced": 2}, "two holders at once, behind a fence | 2"),
        ({"watching": Watching(1, 10, 9, 0, 1)}, "1 / 0 / 0 of 10"),
    ],
)
def test_what_is_bad_is_said_and_is_not_green(changed: dict[str, Any], shown: str) -> None:
    report = a_report(**changed)
    assert list(is_green(a_report())) == []
    assert list(is_green(report))
    assert shown in PARTS["in short"](report)


def test_a_bug_that_was_missed_and_a_seed_that_broke_something_are_not_green() -> None:
    good = a_report()
    missed = replace(good, planted=(Planted("no_fence", "", "torture", ()),))
    assert "**not found**" in PARTS["planted bugs"](missed)
    assert "**0 of 1**" in PARTS["planted bugs"](missed)
    broken = replace(good, simulation=(replace(good.simulation[0], violations=("seed 3",)),))
    repeated = replace(good, cut_off=(replace(good.cut_off[0], library_repeated=1),))
    for bad in (missed, broken, repeated):
        assert list(is_green(bad)), bad


# -- where they come from ----------------------------------------------------------------------------------------


def test_results_are_known_by_what_they_hold_and_replace_what_was_there(tmp_path: Path) -> None:
    report = a_report()
    bodies = {
        "one": torture.store(a_result("3.5.1", seed=8)),
        "planted": json.dumps(
            {"planted": [{"name": "x", "what": "", "where": "torture", "by": ["y"], "seeds": None}]}
        ),
    }
    for name, body in bodies.items():
        (tmp_path / name).write_text(body)
    merged = gather.merged(report, gather.from_files([tmp_path / name for name in bodies]))
    assert [(r.result.etcd, r.result.seed) for r in merged.torture] == [("3.5.1", 8), ("3.4.23", 7)]
    bugs = [(bug.name, bug.where) for bug in merged.planted]
    assert bugs == [("no_fence", "simulation"), ("x", "torture")]
    assert merged.simulation == report.simulation
    assert gather.merged(report, gather.from_files([])) == report
    (tmp_path / "other").write_text("{}")
    with pytest.raises(ValueError, match="other"):
        gather.from_files([tmp_path / "other"])


SUMMARY = {
    "api": "v3", "seeds": 20, "simulated_hours": 0.667, "times_real": 70.0, "requests": 5,
    "faults": {"reply lost": 3}, "acquisitions": 4, "late_writes_refused": 2, "counts": {"terms": 1},
    "violations": [{"seed": 3, "api": "v3", "check": "fifo", "words": "x"}],
}  # fmt: skip


def test_a_summary_of_the_simulation_is_understood(tmp_path: Path) -> None:
    (tmp_path / "sum.json").write_text(json.dumps(SUMMARY))
    report = gather.from_files([tmp_path / "sum.json"])
    (made,) = report.simulation
    assert (made.seconds, made.ratio, made.violations) == (120, 70.0, ("seed 3 on v3: fifo",))
    assert "| reply lost | 3 |" in PARTS["simulation"](report)


def test_what_the_simulation_says_of_planted_bugs_is_understood() -> None:
    said = (
        "no_fence                            2 seeds (2, 1, 9), by late write, tokens\n"
        "release_by_name                   201 seeds (missed, missed, 4), by fifo\n"
    )
    found = list(gather.bugs_of(said, gather.SIMULATED, "simulation", "tests.torture.plants"))
    assert [(bug.name, bug.by, bug.seeds) for bug in found] == [
        ("no_fence", ("late write", "tokens"), 2.0),
        ("release_by_name", (), None),
    ]


def test_a_void_run_is_made_again_and_a_failed_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[int] = []

    def play(module: str, *arguments: str, **_: str) -> gather.Done:
        place = next(words.partition("=")[2] for words in arguments if words.startswith("--json"))
        status = ends.pop(0)
        verdict = {0: "passed", 1: "failed", 3: "void"}[status]
        Path(place).write_text(torture.store(a_result(verdict=verdict)))
        return gather.Done(status, "")

    monkeypatch.setattr(gather, "_python", play)
    wanted = gather.Wanted(("torture",), (Path("etcd"),), 10.0, 1000)
    for ends[:], verdict, left in (
        ([3, 3, 0, 0], "passed", 1),
        ([1, 0], "failed", 1),
        ([3, 3, 3, 0], "void", 1),
    ):
        (run,) = gather.run(wanted).torture
        assert (run.result.verdict, len(ends)) == (verdict, left)


def test_a_program_is_run_and_heard() -> None:
    assert gather._python("tests.reliability", "--help").said.startswith("usage: python -m")
    assert gather._python("tests.reliability", "--nonsense").status == 2


def test_what_torture_says_of_planted_bugs_is_understood() -> None:
    said = "no_fence: found by register, tokens\n    register: v3/lock: x is lost\nrelease_by_name: NOT FOUND\n"
    first, second = gather.bugs_of(said, gather.TORTURED, "torture", "tests.torture.plants")
    assert first.by == ("register", "tokens")
    assert "condition" in first.what
    assert not second.found
