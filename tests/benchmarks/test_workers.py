"""The processes in which clients are measured, and their environments: what goes wrong there stays there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import environments
from benchmarks.crew import Failed, Silent, answer_of, in_turns, worker
from benchmarks.environments import Missing, available, make, python_of
from benchmarks.peers import OURS, OURS_V2, PEERS, Peer
from etcd_recipes.testing import EtcdProcess
from tests.tools import eventually

THERE = Peer("there", "there", "v3", ("there==1",))
NOT_THERE = Peer("not-there", "not_there", "v3", ("not-there==1", "more==2"))


def test_a_line_of_a_worker_gives_or_fails() -> None:
    assert answer_of('{"gave": [1, null]}\n') == [1, None]
    assert answer_of('{"gave": null}') is None
    with pytest.raises(Failed, match="KeyError: x"):
        answer_of('{"failed": "KeyError: x"}')
    for line in ("", "Traceback", "[1]", "{}", '{"gave": '):
        with pytest.raises(Failed):
            answer_of(line)


def test_everybody_comes_first_once_and_a_failure_is_a_round_of_its_own() -> None:
    order: list[str] = []

    def play(peer: Peer, number: int) -> dict[str, int]:
        order.append(peer.name)
        if (peer, number) == (NOT_THERE, 1):
            raise Failed("it hung")
        return {"n": number}

    found = in_turns(2, [THERE, NOT_THERE], play)
    assert order == ["there", "not-there", "not-there", "there"]
    assert found == {"there": [{"n": 0}, {"n": 1}], "not-there": [{"n": 0}, {"failed": "it hung"}]}


def test_a_worker_says_what_went_wrong_and_goes_on(etcd: EtcdProcess) -> None:
    with worker(PEERS[OURS], [etcd.endpoint]) as one:
        with pytest.raises(Failed, match="TypeError"):
            one.ask("get", nonsense=1)
        with pytest.raises(Failed, match="AttributeError"):
            one.ask("be_quick")
        with pytest.raises(Failed, match=r"TooLong: it did not end within 0\.1 s"):
            one.ask("repeat", what="get", count=10**9, name="w", limit=0.1)
        assert one.ask("repeat", what="put", count=3, name="w")["us"][2] > 0
        assert one.ask("get", key="w") is None  # something of ours
    with pytest.raises(Failed, match="ModuleNotFoundError"), worker(Peer("x", "nobody", "v3")):
        pass


def test_a_worker_that_hangs_is_killed_with_all_that_it_has_forked(etcd: EtcdProcess) -> None:
    with worker(PEERS["raw"]) as one:
        one.begin("contend", name="hang", contenders=2, seconds=60.0, hold=0.0, limit=60.0,
                  endpoints=[etcd.endpoint])  # fmt: skip
        forked = Path(f"/proc/{one.pid}/task/{one.pid}/children")
        eventually(lambda: len(forked.read_text().split()) == 2)
        pids = [str(one.pid), *forked.read_text().split()]
        one.patience(0.05)
        with pytest.raises(Silent):
            one.answer()
    eventually(lambda: not any(is_alive(pid) for pid in pids), what="their end")


def is_alive(pid: str) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


# -- environments ---------------------------------------------------------------------------------------------------


def installed(commands: list[list[str]]) -> environments.Run:
    def run(command: Sequence[str | Path]) -> str:
        commands.append([str(each) for each in command])
        if command[1:3] == ["-m", "venv"]:
            Path(command[3]).mkdir(parents=True)
        if "not-there==1" in command:
            raise Missing("it cannot be installed here: No matching distribution")
        return ""

    return run


def test_a_peer_that_cannot_be_installed_is_left_out_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    run = installed(commands)
    monkeypatch.setattr(environments, "make", lambda peer, folder: make(peer, folder, run))
    for _ in range(2):
        found, missing = available([PEERS[OURS], NOT_THERE, THERE], install=True, folder=tmp_path)
        assert found == [PEERS[OURS], THERE]
        assert missing == {"not-there": "it cannot be installed here: No matching distribution"}
    pips = [command for command in commands if "pip" in command]
    # ... and what is there already is not installed again, nor what is broken taken for whole.
    assert [pip[5:] for pip in pips] == [[*NOT_THERE.pins], ["there==1"], [*NOT_THERE.pins]]
    newer = Peer("there", "there", "v3", ("there==2",))
    available([newer], install=True, folder=tmp_path)
    assert commands[-1][-1] == "there==2"


def test_a_quick_run_installs_nothing(tmp_path: Path) -> None:
    found, missing = available([THERE], install=False, folder=tmp_path)
    assert (found, list(missing)) == ([], ["there"])
    assert list(tmp_path.iterdir()) == []


def test_what_a_failed_command_said_is_the_reason() -> None:
    program = "import sys; print('WARNING: x', 'ERROR: no such thing', 'hint', sep='\\n', file=sys.stderr); sys.exit(1)"
    with pytest.raises(Missing, match="ERROR: no such thing"):
        environments.run([sys.executable, "-c", program])
    with pytest.raises(Missing, match="FileNotFoundError"):
        environments.run(["/nowhere/python"])


def test_who_is_not_foreign_runs_here() -> None:
    assert python_of(PEERS[OURS]) == Path(sys.executable)
    assert python_of(THERE, Path("x")) == Path("x/there/bin/python")
    assert all("==" in pin for peer in PEERS.values() for pin in peer.pins)


def test_a_store_that_is_not_here_leaves_out_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "has_v2", lambda: False)
    found, missing = available([PEERS[OURS], PEERS[OURS_V2], PEERS["raw v2"]], install=True)
    assert (found, set(missing)) == ([PEERS[OURS]], {OURS_V2, "raw v2"})
    monkeypatch.setattr(environments, "why_no_zookeeper", lambda: "no Java")
    assert available([PEERS["kazoo"]], install=True) == ([], {"kazoo": "no Java"})
