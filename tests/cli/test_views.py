"""What the commands that look decide: pages, tables, sentences. No server."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace

import pytest

pytest.importorskip("rich")
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from etcd_recipes import Instance
from etcd_recipes.cli import main
from etcd_recipes.cli.view import doctor, events, listing, report, status
from etcd_recipes.cli.view.bugs import bugs_of
from etcd_recipes.cli.view.census import take
from etcd_recipes.cli.view.cluster import judge_ttl
from etcd_recipes.cli.view.endpoint import judge_certificate, judge_clock, judge_version
from etcd_recipes.cli.view.findings import Finding, ask, exit_status, verdict
from etcd_recipes.cli.view.health import Heard, wrongs
from etcd_recipes.cli.view.history import History, observe, per_minute, seen_things, waited
from etcd_recipes.cli.view.output import duration, safe, size
from etcd_recipes.cli.view.page import Look, draw
from etcd_recipes.cli.view.reach import Lifetime
from etcd_recipes.cli.view.table import Row, lay_out
from etcd_recipes.core import runtime
from etcd_recipes.core.store import Entry
from etcd_recipes.core.v3.admin.values import Alarm, Member, Status
from tests.cli.test_census import me

EVIL = "a\x1b[31m\n\x07b\u202e"


def entry(key: str, value: str, created: int, lease: int = 1) -> Entry:
    return Entry(key, value, created, created, lease)


def printed(what, width: int, *, colour: bool = False) -> str:
    file = io.StringIO()
    system = "standard" if colour else None
    console = Console(
        file=file,
        width=width,
        height=24,
        force_terminal=colour,
        color_system=system,
        highlight=False,
    )
    console.print(what)
    return file.getvalue()


LINE = [entry("jobs/" + "n" * 60 + f"/{n:x}", me(), n, n) for n in range(1, 12)]


# -- tables ------------------------------------------------------------------------------------------------


def table(rows: list[Row], width: int) -> list[str]:
    return [line.cells[0] for line in lay_out(report.COLUMNS, rows, width=width, lead=report.LEAD)]


WIDE = [entry(f"作业/{'夜' * 30}/1", me(), 1, 1), entry("e\u0301/2", me(), 2, 2)]


@pytest.mark.parametrize("width", [120, 80, 30])
def test_a_table_fits_and_hides_nothing(width: int) -> None:
    rows = report.rows(take([*LINE, *WIDE]), {LINE[0].key: Lifetime(9, 15)}, 200.0, all_=True)
    lines = table(rows, width)
    assert max(map(cell_len, lines)) <= width
    text = "".join(lines)
    assert "n" * 60 in text
    assert "夜" * 30 in text
    for word in ("9/15", "and 5 more", "waits 1st"):
        assert word in text or width < 80, word


def test_numbers_stand_below_each_other_behind_wide_and_combined_characters() -> None:
    lines = table(report.rows(take([*WIDE, *LINE[:1]]), {}, 200.0, all_=False), 200)
    assert len({cell_len(line) for line in lines}) == 1
    assert all("  -" in line[-20:] for line in lines[1:])


def test_what_does_not_fit_is_told_below_its_name() -> None:
    line = [entry("jobs/nightly/1", me(), 1, 1), entry("jobs/nightly/2", me(), 2, 2)]
    rows = report.rows(take(line), {}, 200.0, all_=False)
    header, *lines = table(rows, 40)
    assert header == "KIND NAME"
    assert [line.split()[0] for line in lines] == ["STATE", "lock", "held", "waits"]
    assert lines[1] == "lock jobs/nightly"
    assert len(table(rows, 80)) == 3  # side by side where there is room


def test_an_instance_that_drains_is_marked() -> None:
    value = json.dumps({"address": "10.0.0.9:80", "owner": "o", "draining": True})
    (row,) = report.rows(take([entry("services/api/a", value, 1)]), {}, 0.0, all_=False)
    assert row.cells[2:4] == ("0 of 1 ready", "10.0.0.9:80 (draining)")


def test_plain_rows_and_json_have_everybody() -> None:
    census = take(LINE)
    rows = report.plain_rows(census, {}, 200.0, all_=False)
    assert len(rows) == 11
    assert {len(row.cells) for row in rows} == {len(report.PLAIN)}
    (thing,) = report.document(census, {}, 200.0, 5, all_=False)["things"]
    assert (thing["holders"][0]["age"], len(thing["waiters"])) == (99.5, 10)


def test_nothing_that_somebody_wrote_controls_a_terminal() -> None:
    for census in (take([entry(f"l{EVIL}/1", EVIL, 1)]), take([entry(EVIL, EVIL, 1, 0)])):
        cells = [c for row in report.rows(census, {}, 0, all_=True) for c in row.cells]
        cells += [c for row in report.plain_rows(census, {}, 0, all_=True) for c in row.cells]
        assert all(cell.isprintable() for cell in cells)
    assert safe(EVIL) == "a\\x1b[31m\\n\\x07b\\u202e"
    assert json.loads(json.dumps(EVIL)) == EVIL


def test_lines_in_a_pipe_are_padded() -> None:
    assert [line.cells[0] for line in lay_out(("A", "B"), [Row(("long", "x"))])] == [
        "A     B",
        "long  x",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-3, "0s"),
        (99, "99s"),
        (100, "1m"),
        (5999, "99m"),
        (6000, "1h"),
        (999999, "11d"),
    ],
)
def test_durations(seconds, text: str) -> None:
    assert duration(seconds) == text


def test_sizes() -> None:
    assert [size(n) for n in (0, 999, 41_000, 3 * 10**9)] == ["0 B", "999 B", "41 kB", "3 GB"]


# -- top ---------------------------------------------------------------------------------------------------


def looks(*each: tuple[float, list[Entry]]) -> History:
    history = History(0.0)
    for now, there in each:
        history = observe(history, take(there), now, 1000.0 + now)
    return history


A, B, C = (entry(f"l/{n}", "", n, n) for n in (1, 2, 3))


def test_grants_and_waits_are_counted_from_changes() -> None:
    history = looks((0, [A, B]), (10, [B, C]), (12, [C]))
    (past,) = seen_things(history)
    assert past.grants == (10, 12)  # what was held at the first look was not granted now
    assert past.longest == 10
    assert per_minute(history, past, 30.0) == 4
    assert per_minute(looks((0, [A])), past, 3.0) is None


def test_a_wait_counts_from_what_the_waiter_says() -> None:
    old = entry("l/2", me(since=995.0), 2, 2)
    history = looks((0, [A, old]))
    assert waited(history, seen_things(history)[0], 7.0) == 12.0


def test_a_free_lock_stays_for_a_while() -> None:
    history = looks((0, [A]), (5, []))
    assert [past.thing.state for past in seen_things(history)] == ["free"]
    assert seen_things(observe(history, take([]), 36.0, 1036.0)) == []


def test_how_much_of_a_semaphore_is_taken_is_not_cut_off() -> None:
    wish = json.dumps({**json.loads(me()), "permits": 3, "weight": 1})
    history = looks((0, [entry(f"api/{n}", wish, n, n) for n in (1, 2)]))
    page = printed(draw(Look(history, {}, 1.0, 1.0, "all keys at http://h:1"), 80, 24), 80)
    assert "2 of 3: " in page
    assert "all keys at http://h:1" in page


def test_most_waiters_come_first() -> None:
    history = looks((0, [entry("a/1", "", 1, 1), entry("b/2", "", 2, 2), entry("b/3", "", 3, 3)]))
    assert [past.thing.name for past in seen_things(history)] == ["b", "a"]


CROWD = looks((0, []), (9, [entry(f"l{n}/{n:x}", me(), n, n) for n in range(1, 99)] + LINE))


@pytest.mark.parametrize(("width", "height"), [(120, 40), (80, 24), (40, 10), (12, 6)])
def test_a_page_fits(width: int, height: int) -> None:
    look = Look(CROWD, {}, 10.0, 9.5, "'' at http://h:2379")
    lines = printed(draw(look, width, height), width).splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_a_page_says_what_is_new_how_old_it_is_and_why() -> None:
    fresh = printed(draw(Look(CROWD, {}, 10.0, 9.5, ""), 80, 24), 80)
    assert "* lock" in fresh
    assert "up to date" in fresh
    stale = printed(draw(Look(CROWD, {}, 50.0, 9.0, "", f"refused {EVIL}"), 80, 24), 80)
    assert "STALE: the picture is 41 s old: refused" in stale
    assert "\x1b" not in stale
    assert "* lock" not in stale


def test_only_colours_that_read_on_light_and_dark() -> None:
    text = printed(draw(Look(CROWD, {}, 50.0, 9.0, "", "x"), 80, 24), 80, colour=True)
    rows = report.rows(take([*LINE, entry("x", "", 9, 0)]), {}, 0.0, all_=True)
    for line in lay_out(report.COLUMNS, rows, width=80, lead=report.LEAD):
        text += printed(Text(line.cells[0], line.style), 80, colour=True)
    codes = {code for part in text.split("\x1b[")[1:] for code in part.split("m")[0].split(";")}
    assert codes <= {"0", "1", "2", "31", "32"}


# -- status ------------------------------------------------------------------------------------------------

GOOD = Status(
    "http://h:1", 1, "3.5.13", 1000, 900, 1, 50, 50, 2, is_learner=False, errors=(), revision=9
)
NAMED = Member(1, "m1", ("http://h:2",), ("http://h:1",))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"leader": 0}, "knows no leader"),
        ({"db_size": 1_900_000_000}, "compact and defragment"),
        ({"db_size": 90, "db_size_quota": 100}, "90 B of 100 B"),
        ({"is_learner": True}, "learner"),
    ],
)
def test_what_is_wrong_with_one_member(change: dict, word: str) -> None:
    assert wrongs([Heard("e", GOOD)], [NAMED], []) == ()
    (sentence,) = wrongs([Heard("e", replace(GOOD, **change))], [NAMED], [])
    assert word in sentence


def test_what_is_wrong_between_members() -> None:
    other = replace(
        GOOD, member_id=2, leader=2, version="3.4.1", raft_index=9000, raft_applied_index=9000
    )
    found = "\n".join(
        wrongs([Heard("a", GOOD), Heard("b", other), Heard("c", error="gone")], [NAMED], [])
    )
    for word in (
        "c does not answer: gone",
        "2 different leaders",
        "3.4.1, 3.5.13",
        "8950 entries behind",
    ):
        assert word in found
    never = Member(5, "", ("http://p",), ())
    assert "never started" in wrongs([], [never], [])[0]
    assert "m1: writes are refused" in wrongs([], [NAMED], [Alarm(1, "NOSPACE")])[0]
    assert "alarm NEW" in wrongs([], [], [Alarm(1, "NEW")])[0]


def test_a_member_that_does_not_answer_is_named() -> None:
    (row,) = status._rows([Heard("http://h:1", error="gone")], [NAMED])
    assert row.cells[:3] == ("http://h:1", "m1", "NO ANSWER")


# -- doctor ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "count"),
    [("3.5.0", 6), ("3.5.3", 5), ("3.5.13", 2), ("3.5.23", 0), ("3.4.22", 6), ("3.4.23", 5), ("3.4.38", 1),
     ("3.6.4", 1), ("3.6.5", 0), ("3.7.0", 0), ("3.3.27", 6), ("nonsense", 0), ("3.5.0-rc.1", 6)],
)  # fmt: skip
def test_known_bugs_by_version(version: str, count: int) -> None:
    assert len(bugs_of(version)) == count


def test_a_remedy_is_never_an_older_line() -> None:
    for bug in bugs_of("3.5.1"):
        assert "3.4" not in bug.remedy((3, 5, 1))
        assert "3.5" in bug.remedy((3, 5, 1))


def test_judgements_of_time() -> None:
    end = "Jan  1 00:00:00 2030 GMT"
    at = 1893456000.0  # that very moment
    days = {90: "ok", 5: "WARN", -3: "BROKEN"}
    for left, level in days.items():
        assert judge_certificate("tls", end, at - left * 86400).level == level
    assert judge_certificate("tls", "", at).level == "WARN"
    date = "Tue, 01 Jan 2030 00:00:00 GMT"
    assert judge_clock("clock", date, at).level == "ok"
    assert "60 s behind" in judge_clock("clock", date, at + 60.5).result
    assert judge_clock("clock", "", at).level == "ok"
    assert [judge_ttl(ttl, 2).level for ttl in (1, 3, 15)] == ["WARN", "WARN", "ok"]
    assert judge_version("server", "3.7.0", 2.0)[0].level == "WARN"


def test_no_question_hangs_and_a_defect_is_an_answer() -> None:
    never = runtime.new_event()

    def hang() -> list[Finding]:
        never.wait(20)
        return []

    assert ask("x", hang, 0.05)[0].result == "no answer within 0.05 s"
    never.set()
    assert ask("x", list, 5)[0].level == "BROKEN"
    assert ask("x", lambda: [Finding("x", "y")], 5) == (Finding("x", "y"),)


def test_exit_statuses() -> None:
    good, warned, broken = Finding("", ""), Finding("", "", "WARN"), Finding("", "", "BROKEN")
    assert exit_status([good], strict=True) == 0
    assert [exit_status([good, warned], strict=s) for s in (False, True)] == [0, 1]
    assert exit_status([warned, broken], strict=False) == 2


def test_the_verdict_names_what_is_broken_and_counts_in_english() -> None:
    good, warned = Finding("a", ""), Finding("w", "", "WARN")
    broken = [Finding(f"tcp {n}", "", "BROKEN") for n in "xyx"]
    assert verdict([good, warned]) == "1 ok, 1 warning, 0 broken"
    assert verdict([warned, warned, *broken]) == "0 ok, 2 warnings, 3 broken: tcp x, tcp y"


def test_what_all_members_have_is_told_once(monkeypatch, capsys) -> None:
    def examine(_connection, _prefix, _ttl):
        for member in "ab":
            yield [Finding(f"server {member}", "3.5.1"), Finding("version", "old", "WARN", "new")]

    monkeypatch.setattr(doctor, "_examine", examine)
    assert main.run(["doctor"]) == 0
    said = capsys.readouterr()
    assert said.out.count("version: old") == said.out.count("-> new") == 1
    assert said.err == "etcd-recipes: 2 ok, 1 warning, 0 broken\n"


def test_a_findings_further_lines_stand_behind_its_mark() -> None:
    finding = Finding("dns", "word " * 20, "BROKEN", "do " * 30)
    lines = "\n".join(doctor._lines(finding, 50)).splitlines()
    assert max(map(len, lines)) <= 50
    assert lines[0].startswith("BROKEN dns: word")
    assert {line[:7] for line in lines[1:]} == {" " * 7}


# -- discover and watch ------------------------------------------------------------------------------------


def test_formats_of_others() -> None:
    found = [
        Instance("api-1", "i1", "10.0.0.1:80", {"k-1": "v"}, zone="eu"),
        Instance("api-1", "i2", "http://[::1]:80/x"),
        Instance("api-1", "i3", "$(rm -rf /);\nX=1:80"),
    ]
    env = listing.as_env("api-1", found)
    script = "\n".join(["set -eu", *env, 'printf "%s" "$API_1_3_ADDRESS"'])
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == found[2].address  # one value, nothing run
    assert listing.as_hosts("api-1", found) == [
        "10.0.0.1\tapi-1",
        "::1\tapi-1",
        "# $(rm -rf /);\\nX=1:80 is no IP address",
    ]
    first, second, _ = listing.as_prometheus(found)
    assert first["targets"] == ["10.0.0.1:80"]
    assert first["labels"] == {
        "service": "api-1", "instance_id": "i1", "zone": "eu", "__meta_etcd_recipes_k_1": "v",
    }  # fmt: skip
    assert second["targets"] == ["[::1]:80"]


def test_events_are_safe_and_lossless() -> None:
    seen = events.Seen(7, "PUT", b"k\xff", b'v\\\x1b\n\t\xc3\xa9"', 255, 3)
    assert events.as_line(seen) == '7\tPUT\tk\\xff\tv\\\\\\x1b\\n\\t\u00e9"'
    assert json.loads(events.as_json(seen)) == {
        "revision": 7, "type": "PUT", "key_base64": "a/8=", "value": 'v\\\x1b\n\t\u00e9"',
        "create_revision": 3, "lease": "ff",
    }  # fmt: skip
    gone = events.Seen(8, "DELETE", b"k", None)
    assert events.as_line(gone) == "8\tDELETE\tk"
    assert json.loads(events.as_json(gone)) == {"revision": 8, "type": "DELETE", "key": "k"}


def test_help_of_all_commands_imports_nothing_heavy() -> None:
    source = (
        "import sys; from etcd_recipes.cli.main import run; run(['--help']); run(['top', '--help']);"
        "heavy = ('rich', 'requests', 'etcd_recipes.testing', 'etcd_recipes.client');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
