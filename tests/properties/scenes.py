"""The scenes: one hazard each, forced step by step; `variants` says which defect each of them brings to light.

H holds, W waits behind it, C comes last; X is whoever shares a client with another. Who is stopped or killed
is an actor of the scene's own, the others are the stage's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.properties.stage import TTL, Stage, mixed, rival
from tests.recipes.operator import TAKES_A_PLACE

__all__ = ["LONG", "SCENES", "SHORT"]

Scene = Callable[[Stage], None]

SCENES: dict[str, Scene] = {}

SHORT = 0.02
"""Seconds that a visitor stays who is there for the order only."""

LONG = 10.0
"""Seconds that one may wait who is cancelled sooner, or need not get in."""

OPENS = {"v3": b"/v3/lease/grant", "v2": b"GET /v2"}
"""What the request that opens a session has in it."""

LEAVES = {"v3": b"request_delete_range", "v2": b"DELETE /v2"}
"""What the request that leaves a line has in it."""


def scene(play: Scene) -> Scene:
    SCENES[play.__name__] = play
    return play


# -- a quiet day ----------------------------------------------------------------------------------------------


@scene
def hand_over(stage: Stage) -> None:
    """Four stand in one line, and not all of them exclude each other."""
    first = stage.line_up(stage.one, "first", mixed(0))
    stage.decided(first)
    waiting = [
        stage.line_up(actor, who, mixed(number), stay=SHORT)
        for number, (who, actor) in enumerate(
            [("second", stage.other), ("third", stage.one), ("fourth", stage.other)], 1
        )
    ]
    stage.leave(first)
    stage.over([part for parts in waiting for part in parts])


@scene
def giving_up(stage: Stage) -> None:
    """One is cancelled in the middle of its wait, one has no more time; the next goes in."""
    holder = stage.line_up(stage.one, "H", rival(0))
    cancelled = stage.line_up(stage.other, "cancelled", rival(1), timeout=LONG)
    hurried = stage.enter(stage.one, "hurried", rival(2), timeout=0.3)
    last = stage.line_up(stage.other, "C", rival(2))
    stage.cancel(cancelled)
    stage.over([*cancelled, *hurried])
    assert all("Cancelled" in part.told("why") for part in cancelled)
    assert all(part.told("why") == "timeout" for part in hurried)
    stage.leave(holder)
    stage.decided(last)


@scene
def deserted(stage: Stage) -> None:
    """A thread ends without release; its hold ends with its process, long before the ttl."""
    victim = stage.actor()
    holder = stage.line_up(victim, "H", rival(0), ttl=30)
    stage.decided(holder)
    waiter = stage.line_up(stage.other, "W", rival(1))
    stage.desert(holder)
    stage.end(victim)
    stage.decided(waiter)


# -- what an operator does ---------------------------------------------------------------------------------------


@scene
def place_removed(stage: Stage) -> None:
    """The key of one that waits is deleted; then those before and behind it go on."""
    holder = stage.line_up(stage.one, "H", rival(0))
    stage.decided(holder)
    robbed = stage.line_up(stage.one, "W", rival(1))
    last = stage.line_up(stage.other, "C", rival(2))
    stage.remove(robbed)
    stage.leave(holder)
    stage.decided([*robbed, *last])


@scene
def hold_removed(stage: Stage) -> None:
    """The key of one that holds is deleted, and the next goes in."""
    holder = stage.line_up(stage.one, "H", rival(0), ttl=TTL)
    stage.decided(holder)
    waiter = stage.line_up(stage.other, "W", rival(1))
    stage.remove(holder)
    stage.decided(waiter)
    stage.over(holder, TTL)


@scene
def lease_revoked(stage: Stage) -> None:
    """The lease of one that holds is revoked, and of one that waits."""
    holder = stage.line_up(stage.one, "H", rival(0), ttl=TTL)
    stage.decided(holder)
    robbed = stage.line_up(stage.one, "W", rival(1), ttl=TTL)
    last = stage.line_up(stage.other, "C", rival(2))
    stage.revoke(robbed)
    stage.revoke(holder)
    stage.decided(last)
    stage.over([*holder, *robbed], TTL)


# -- what happens to a process ---------------------------------------------------------------------------------


@scene
def stopped(stage: Stage) -> None:
    """The holder's process is stopped past its ttl, and wakes when another one is in."""
    victim = stage.actor()
    holder = stage.line_up(victim, "H", rival(0), closely=True, ttl=TTL)
    stage.decided(holder)
    waiter = stage.line_up(stage.other, "W", rival(1))
    victim.stop()
    stage.decided(waiter, TTL)
    victim.resume()
    stage.over(holder)


@scene
def stopped_in_line(stage: Stage) -> None:
    """One that waits is stopped past its ttl; when it wakes, all before it have left and another one is in."""
    victim = stage.actor()
    holder = stage.line_up(stage.other, "H", rival(0))
    stopped = stage.line_up(victim, "W", rival(1), timeout=LONG, ttl=TTL)
    last = stage.line_up(stage.other, "C", rival(2))
    victim.stop()
    stage.leave(holder)
    stage.decided(last, TTL)
    victim.resume()
    stage.decided(stopped)


@scene
def stopped_after_a_late_reply(stage: Stage) -> None:
    """The reply to the lease's grant took most of the ttl; then the holder is stopped."""
    victim = stage.actor()
    proxies = stage.proxies()
    late = 0.8 * TTL
    for proxy in proxies:
        proxy.delay(late, only=OPENS[stage.api], times=1)
    holder = stage.enter(
        victim, "H", rival(0), through=True, ttl=TTL, timeout=LONG, header_timeout=2 * late
    )
    stage.decided(holder, LONG)
    victim.stop()
    waiter = stage.line_up(stage.other, "W", rival(1))
    stage.decided(waiter, TTL)
    stage.struck()
    victim.resume()
    stage.over(holder)


@scene
def killed(stage: Stage) -> None:
    """A process that holds and one place of it that waits are killed; the next goes in."""
    victim = stage.actor()
    stage.decided(stage.line_up(victim, "H", rival(0), ttl=TTL))
    stage.line_up(victim, "W", rival(1), ttl=TTL)
    last = stage.line_up(stage.other, "C", rival(2))
    stage.kill(victim)
    stage.decided(last, TTL)


# -- what happens on the way -----------------------------------------------------------------------------------


@scene
def reply_to_join_lost(stage: Stage) -> None:
    """The place was taken, and the answer is lost."""
    proxies = stage.proxies()
    for proxy in proxies:
        proxy.lose_reply(only=TAKES_A_PLACE[stage.api], times=1)
    holder = stage.enter(stage.one, "H", rival(0), through=True)
    stage.decided(holder)
    stage.struck()
    waiter = stage.line_up(stage.other, "W", rival(1))
    stage.leave(holder)
    stage.decided(waiter)


@scene
def reply_to_release_lost(stage: Stage) -> None:
    """The place was left, and the answer is lost; the same client comes again."""
    proxies = stage.proxies()
    holder = stage.line_up(stage.one, "H", rival(0), through=True)
    stage.decided(holder)
    waiter = stage.line_up(stage.other, "W", rival(1))
    for proxy in proxies:
        proxy.lose_reply(only=LEAVES[stage.api], times=1)
    stage.leave(holder)
    stage.decided(waiter)
    stage.struck()
    again = stage.line_up(stage.one, "X", rival(2), client="H", through=True)
    stage.leave(waiter)
    stage.decided(again)


@scene
def late_release(stage: Stage) -> None:
    """A copy of a release arrives when the same client is in again."""
    proxies = stage.proxies()
    holder = stage.line_up(stage.one, "H", rival(0), through=True)
    stage.decided(holder)
    for proxy in proxies:
        proxy.hold(only=LEAVES[stage.api], times=1)
    stage.leave(holder, timeout=1.0)
    stage.over(holder)
    stage.struck()
    again = stage.enter(stage.one, "X", rival(1), client="H", through=True)
    stage.decided(again)
    last = stage.line_up(stage.other, "C", rival(2))
    for proxy in proxies:
        proxy.heal()
    stage.not_yet(last)
    stage.leave(again)
    stage.decided(last)


@scene
def late_join(stage: Stage) -> None:
    """A copy of a join arrives when the one who sent it has given up."""
    proxies = stage.proxies()
    how: dict[str, Any] = {"through": True, "ttl": TTL, "timeout": LONG, "header_timeout": LONG}
    warm_up = stage.line_up(stage.one, "X", rival(0), client="W", **how)
    stage.leave(warm_up)
    stage.over(warm_up)
    for proxy in proxies:
        proxy.hold(only=TAKES_A_PLACE[stage.api], times=1)
    gives_up = stage.enter(stage.one, "W", rival(1), **how)
    stage.struck()
    stage.cancel(gives_up)
    stage.over(gives_up)
    for proxy in proxies:
        proxy.heal()
    last = stage.enter(stage.other, "C", rival(2))
    stage.decided(last, TTL)


@scene
def cut_off(stage: Stage) -> None:
    """The holder's network is silent for longer than its ttl; the process runs on."""
    proxies = stage.proxies()
    holder = stage.line_up(stage.one, "H", rival(0), through=True, ttl=TTL)
    stage.decided(holder)
    waiter = stage.line_up(stage.other, "W", rival(1))
    for proxy in proxies:
        proxy.blackhole()
    stage.decided(waiter, TTL)
    stage.over(holder)
    for proxy in proxies:
        proxy.heal()
