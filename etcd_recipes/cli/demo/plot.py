"""The plot: what the stage does next, and the sentence that says what is going on.

The acts
1. The jobs flow. When a quarter of them is done, and the leader has a job in hand: kill -9 the leader.
2. Somebody else leads, and the jobs flow again. Try a write as the dead leader would make it, had it
   only been slow: the ledger must refuse it.
3. When half of the jobs are done, and some of them since then: kill -9 the etcd member that leads the
   cluster. (Not on an etcd that was given: that one is not ours to kill.)
4. When all jobs are done, or nobody is left to do them: the end.

Rules of this file
1. Pure: a picture in, an act out.
2. A blow falls only while jobs run, and before the last one is handed out: else nothing would be shown.
"""

from __future__ import annotations

from enum import Enum

from etcd_recipes.cli.demo.story import Picture

__all__ = ["Act", "next_act", "now_playing"]


class Act(Enum):
    """What the stage does next."""

    WATCH = "watch"
    KILL_LEADER = "kill the leading worker"
    TEST_FENCE = "write as the dead leader would"
    KILL_MEMBER = "kill the etcd member that leads"
    END = "end"


def next_act(picture: Picture, *, may_kill_member: bool) -> Act:
    """Say what to do now."""
    if _is_over(picture):
        return Act.END
    if picture.killed is None:
        return Act.KILL_LEADER if _leader_is_ripe(picture) else Act.WATCH
    if picture.taken_over is not None and not picture.fence_tested:
        return Act.TEST_FENCE
    if may_kill_member and picture.crashed is None and _member_is_ripe(picture):
        return Act.KILL_MEMBER
    return Act.WATCH


def _is_over(picture: Picture) -> bool:
    alive = [hand for hand in picture.hands.values() if hand.state in ("starting", "here")]
    return len(picture.done) >= picture.plan.jobs or not alive


def _leader_is_ripe(picture: Picture) -> bool:
    plan = picture.plan
    if not picture.leader or not picture.running or len(picture.done) < plan.jobs // 4:
        return False
    few_left = len(picture.handed) >= plan.jobs - plan.outstanding
    return bool(picture.hands[picture.leader].job) or few_left


def _member_is_ripe(picture: Picture) -> bool:
    if picture.taken_over is None or not picture.leader or not picture.running:
        return False
    plan = picture.plan
    flowing = picture.done_at_takeover + max(1, plan.jobs // 8)  # let people see that it goes on
    enough = len(picture.done) >= max(plan.jobs // 2, flowing)
    return enough or len(picture.handed) >= plan.jobs


def now_playing(picture: Picture, *, may_kill_member: bool = True) -> str:
    """Say in one sentence what is going on."""
    if picture.closing:
        return "the workers leave: each resigns, signs off, and revokes its lease"
    if not picture.terms:
        return "starting etcd and the workers; the first in line will lead"
    if picture.killed is None:
        return "the leader hands out jobs, all take them under locks; next: its kill -9"
    if picture.taken_over is None:
        return (
            f"no leader, so no new jobs, until the dead one's lease ({picture.ttl} s) has run out"
        )
    if picture.crashed is None:
        tail = "; next: kill -9 of etcd's leader" if may_kill_member else ""
        return f"{picture.leader or 'the next one'} leads, and the jobs flow again{tail}"
    if not picture.ruler:
        return "the two etcd members left elect a leader; the workers wait for it"
    return "two of three etcd members serve, and the jobs flow again"
