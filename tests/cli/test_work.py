"""Leader and hand on a real etcd: what they do when they were replaced, or come too late."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from etcd_recipes import Client, Context, LockLost
from etcd_recipes.cli.demo.board import Board, Counter, Job, read
from etcd_recipes.cli.demo.follower import follow_prefix
from etcd_recipes.cli.demo.hand import Hand
from etcd_recipes.cli.demo.held import still, while_held
from etcd_recipes.cli.demo.leader import Leader
from etcd_recipes.cli.demo.ledger import Ledger
from etcd_recipes.cli.demo.plan import Keys, Plan
from etcd_recipes.core.errors import Cancelled
from etcd_recipes.core.v3 import Op
from etcd_recipes.testing import EtcdProcess
from tests import tools
from tests.tools import eventually

PLAN = Plan(workers=2, jobs=8, ttl=5, seed=1)


class Scene:
    """One worker's half: its client, board, ledger, and what it told."""

    def __init__(self, etcd: EtcdProcess, folder: Path, prefix: str) -> None:
        self.keys = Keys(prefix)
        self.client = Client(etcd.endpoint, namespace=prefix, session_ttl=5)
        self.kv = self.client.v3.kv
        self.ctx = Context()
        self.board = Board()
        self.ledger = Ledger.create(folder / "ledger.db")
        self.told: list[tuple[str, str]] = []
        self._following = tools.Job(self._follow)

    def _follow(self) -> None:
        try:
            for update in follow_prefix(self.client, self.keys.work, self.ctx):
                self.board.show(read(update.entries, self.keys))
        except Cancelled:
            pass

    def tell(
        self, kind: str, *, job: str = "", token: int = 0, number: int = 0, text: str = ""
    ) -> None:
        self.told.append((kind, job))

    def leader(self) -> Leader:
        return Leader(
            "a", self.client, PLAN, self.keys, self.board, self.ledger, self.tell, self.ctx
        )  # fmt: skip

    def hand(self) -> Hand:
        return Hand("a", 0, self.client, self.keys, self.board, self.ledger, self.tell, self.ctx)

    def put_job(self, name: str) -> None:
        self.kv.put(self.keys.job(name), Job(name, 0.01).encode())

    def jobs(self) -> list[str]:
        found = self.kv.range(self.keys.jobs, prefix=True)
        return [kv.key.decode().removeprefix(self.keys.jobs) for kv in found.kvs]

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.told]

    def close(self) -> None:
        self.ctx.cancel()
        self._following.result()
        self.client.close()
        self.ledger.close()


@pytest.fixture
def scene(etcd: EtcdProcess, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    scene = Scene(etcd, tmp_path, f"{request.node.name}/")
    yield scene
    scene.close()


# -- under a hold ------------------------------------------------------------------------------------


def test_still_holds_for_this_hold_and_not_for_a_later_one_at_the_same_key(scene: Scene) -> None:
    lock = scene.client.lock("l")
    first = lock.acquire()
    assert first is not None
    assert scene.kv.txn(still(first), [Op.put("x", "1")]).succeeded
    first.release()
    assert not scene.kv.txn(still(first), [Op.put("x", "2")]).succeeded
    second = lock.acquire()
    assert second is not None
    assert second.key == first.key
    assert not scene.kv.txn(still(first), [Op.put("x", "3")]).succeeded
    assert scene.kv.txn(still(second), [Op.put("x", "4")]).succeeded
    second.release()


def test_what_is_done_while_held_ends_with_the_hold(scene: Scene) -> None:
    hold = scene.client.lock("l").acquire()
    assert hold is not None

    def wait() -> None:
        with while_held(hold, scene.ctx) as limited:
            limited.wait()
            limited.check()

    waiting = tools.Job(wait)
    hold.session.close()
    with pytest.raises(LockLost):
        waiting.result()


def test_what_is_done_while_held_ends_when_the_worker_is_told_to(scene: Scene) -> None:
    hold = scene.client.lock("l").acquire()
    assert hold is not None
    ctx = Context()

    def wait() -> None:
        with while_held(hold, ctx) as limited:
            limited.wait()
            limited.check()

    waiting = tools.Job(wait)
    ctx.cancel()
    with pytest.raises(Cancelled):
        waiting.result()
    hold.release()


# -- the leader --------------------------------------------------------------------------------------


def test_a_leader_hands_out_as_far_ahead_as_planned_and_no_further(scene: Scene) -> None:
    with scene.client.election("e").campaign() as term:
        leading = tools.Job(lambda: scene.leader().lead(term))
        eventually(lambda: scene.kinds().count("handed") == PLAN.outstanding)
        assert scene.jobs() == list(PLAN.all_jobs[: PLAN.outstanding])
        scene.kv.delete(scene.keys.job("001"))
        eventually(lambda: scene.kinds().count("handed") == PLAN.outstanding + 1)
        scene.ctx.cancel()
        with pytest.raises(Cancelled):
            leading.result()
    log = [(row.kind, row.job, row.token) for row in scene.ledger.log()]
    assert log[0] == ("term", "", term.token)
    assert log[1:] == [
        ("handout", job, term.token) for job in PLAN.all_jobs[: PLAN.outstanding + 1]
    ]


def test_a_leader_whose_key_is_gone_hands_out_nothing_more(scene: Scene) -> None:
    term = scene.client.election("e").campaign()
    leading = tools.Job(lambda: scene.leader().lead(term))
    eventually(lambda: scene.kinds().count("handed") == PLAN.outstanding)
    scene.kv.delete(term.key)  # as its lease would, had it been stopped for too long
    scene.kv.delete(scene.keys.job("001"))
    with pytest.raises(LockLost):
        leading.result()
    assert scene.kinds().count("handed") == PLAN.outstanding
    assert "003" not in scene.jobs()
    assert scene.told[-1] == ("lost", "")


def test_a_handout_whose_reply_was_lost_is_not_made_twice(scene: Scene) -> None:
    with scene.client.election("e").campaign() as term:
        job, after = Job("001", 0.5, "a", term.token), Counter(1, term.token)
        leader = scene.leader()
        assert leader._attempt(term, Counter(), after, job, scene.ctx).succeeded  # no reply came
        leader._hand_out(term, Counter(), scene.ctx)
        assert scene.told == [("handed", "001")]
        assert scene.jobs() == ["001"]


def test_a_handout_of_the_leader_before_is_not_claimed(scene: Scene) -> None:
    scene.kv.put(scene.keys.counter, Counter(1, 1).encode())
    with scene.client.election("e").campaign() as term:
        scene.leader()._hand_out(term, Counter(), scene.ctx)
        assert (scene.told, scene.jobs()) == ([], [])


def test_a_leader_that_the_ledger_refuses_steps_down(scene: Scene) -> None:
    scene.ledger.begin_term("b", 10**9)
    with scene.client.election("e").campaign() as term:
        scene.leader().lead(term)
    assert scene.kinds() == ["refused"]
    assert scene.jobs() == []


# -- the hand ----------------------------------------------------------------------------------------


def test_a_hand_does_a_job_and_removes_it(scene: Scene) -> None:
    working = tools.Job(scene.hand().work)
    scene.put_job("001")
    eventually(lambda: scene.jobs() == [] and scene.kinds() == ["took", "wrote"])
    assert [row.job for row in scene.ledger.rows()] == ["001"]
    scene.ctx.cancel()
    with pytest.raises(Cancelled):
        working.result()


def test_a_job_that_is_done_but_still_there_is_only_removed(scene: Scene) -> None:
    scene.ledger.take("b", 1, "001")
    scene.ledger.finish("b", 1, "001")
    scene.put_job("001")
    working = tools.Job(scene.hand().work)
    eventually(lambda: scene.jobs() == [] and scene.kinds() == ["found"])
    assert [row.who for row in scene.ledger.rows()] == ["b"]
    scene.ctx.cancel()
    with pytest.raises(Cancelled):
        working.result()


def test_a_locked_job_is_taken_when_its_lock_goes(scene: Scene, etcd: EtcdProcess) -> None:
    with Client(etcd.endpoint, namespace=scene.keys.prefix) as other:
        hold = other.lock(scene.keys.lock("001")).acquire()
        assert hold is not None
        scene.put_job("001")
        working = tools.Job(scene.hand().work)
        eventually(lambda: scene.board.seen.locked == {"001"})
        assert scene.kinds() == []
        other.session().close()  # as when it dies and its lease ends
        eventually(lambda: scene.kinds() == ["took", "wrote"])
    scene.ctx.cancel()
    with pytest.raises(Cancelled):
        working.result()


def test_a_hand_whose_lock_is_gone_does_not_remove_the_job(scene: Scene) -> None:
    scene.put_job("001")
    hold = scene.client.lock(scene.keys.lock("001")).acquire()
    assert hold is not None
    scene.kv.delete(hold.key)  # as its lease would, had it been stopped for too long
    with pytest.raises(LockLost):
        scene.hand()._remove(Job("001", 0.01), hold, scene.ctx)
    assert scene.jobs() == ["001"]
