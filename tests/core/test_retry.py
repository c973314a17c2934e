"""Policies: each ends with its Context, repeats what may be repeated, and raises the last error."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from etcd_recipes.core import retry
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    Cancelled,
    ClusterError,
    Compacted,
    DeadlineExceeded,
    EndpointError,
    EtcdError,
    InvalidResponse,
    LeaseNotFound,
    LockLost,
    NoLeader,
    PermissionDenied,
    SessionLost,
)
from etcd_recipes.core.retry import Policy
from tests.core.calls import SOON, Call, within
from tests.tools import eventually

NAMED = [getattr(retry, name) for name in retry.__all__ if name.isupper()]
named = pytest.mark.parametrize("policy", NAMED, ids=lambda policy: policy.name)

SLOW = Policy("slow", first=1e6, longest=1e6)
"""Its sleeps are drawn from 0 to twelve days."""

QUICK = Policy("quick", first=0.001, longest=0.001)


def unanswered() -> ClusterError:
    return ClusterError([EndpointError("http://a:1", "refused")])


class Failing:
    """A call that raises these errors in turn, and then gives "done"."""

    def __init__(self, *errors: BaseException, then: Callable[[], BaseException] | None = None):
        self.left = list(errors)
        self.then = then
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            raise self.left.pop(0)
        if self.then is not None:
            raise self.then()
        return "done"


# -- ends with its context ---------------------------------------------------------------------------


@named
def test_a_policy_ends_with_its_deadline(policy: Policy) -> None:
    failing = Failing(then=unanswered)
    with within(0.2 + SOON, at_least=0.2), pytest.raises(DeadlineExceeded):
        policy.run(Context(0.2), failing)
    assert failing.calls > 1


@named
def test_a_cancel_ends_a_policy(policy: Policy) -> None:
    ctx, failing = Context(), Failing(then=unanswered)
    call = Call(lambda: policy.run(ctx, failing))
    eventually(lambda: failing.calls > 1)
    with within(SOON):
        ctx.cancel()
        assert isinstance(call.error(), Cancelled)


def test_a_policy_never_sleeps_past_a_deadline() -> None:
    with within(0.1 + SOON, at_least=0.1), pytest.raises(DeadlineExceeded):
        SLOW.run(Context(0.1), Failing(then=unanswered))


def test_a_cancel_ends_the_sleep_at_once() -> None:
    ctx = Context()
    call = Call(lambda: SLOW.run(ctx, Failing(then=unanswered)))
    eventually(lambda: ctx._callbacks)
    with within(SOON):
        ctx.cancel()
        assert isinstance(call.error(), Cancelled)
    assert ctx._callbacks == {}


def test_the_end_of_the_policys_own_context_is_not_tried_again() -> None:
    ctx = Context()

    def call() -> None:
        ctx.cancel()
        ctx.check()

    with within(SOON), pytest.raises(Cancelled):
        SLOW.run(ctx, call)


def test_the_contexts_error_comes_whatever_else_went_wrong_on_the_way() -> None:
    ctx = Context()

    def call() -> None:
        ctx.cancel()
        raise unanswered()

    with pytest.raises(Cancelled):
        QUICK.run(ctx, call)


# -- what is tried again -----------------------------------------------------------------------------


@named
@pytest.mark.parametrize("error", [Cancelled("inner"), DeadlineExceeded("inner")], ids=repr)
def test_the_end_of_an_inner_limit_is_tried_again_while_the_outer_lives(
    policy: Policy, error: Exception
) -> None:
    failing = Failing(error)
    assert policy.run(Context(30.0), failing) == "done"
    assert failing.calls == 2


EVERYTHING = {
    "ClusterError": unanswered(),
    "NoLeader": NoLeader("none"),
    "LeaseNotFound": LeaseNotFound("gone"),
    "Compacted": Compacted("gone"),
    "PermissionDenied": PermissionDenied("no"),
    "EtcdError": EtcdError("no"),
    "InvalidResponse": InvalidResponse("what"),
    "SessionLost": SessionLost("gone"),
    "LockLost": LockLost("gone"),
}
ANSWERS = set(EVERYTHING) - {"SessionLost", "LockLost"}


@pytest.mark.parametrize(
    ("policy", "again"),
    [
        (retry.OPENING, {"ClusterError", "NoLeader"}),
        (retry.PATIENT, {"ClusterError", "NoLeader"}),
        (retry.CAMPAIGN, {"ClusterError", "NoLeader", "SessionLost", "LockLost"}),
        (retry.RENEWAL, set(EVERYTHING) - {"LeaseNotFound"}),
        (retry.SWEEPING, set(EVERYTHING)),
        (retry.HEALING, set(EVERYTHING)),
    ],
    ids=lambda value: value.name if isinstance(value, Policy) else "",
)
def test_what_each_policy_tries_again(policy: Policy, again: set[str]) -> None:
    assert {name for name, error in EVERYTHING.items() if policy.again(error)} == again


def test_every_named_policy_has_its_row_in_the_table() -> None:
    assert {policy.name for policy in NAMED} == {
        "opening",
        "patient",
        "campaign",
        "renewal",
        "sweeping",
        "healing",
    }


@named
@pytest.mark.parametrize("error", [KeyError("bug"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_a_bug_or_an_interrupt_is_never_tried_again(policy: Policy, error: BaseException) -> None:
    failing = Failing(error)
    with pytest.raises(type(error)) as raised:
        policy.run(Context(30.0), failing)
    assert raised.value is error
    assert failing.calls == 1


# -- how it ends -------------------------------------------------------------------------------------


def test_a_call_that_succeeds_is_made_once() -> None:
    failing = Failing()
    assert SLOW.run(Context(), failing) == "done"
    assert failing.calls == 1


def test_when_the_attempts_are_used_up_the_last_error_is_raised_as_it_is() -> None:
    errors = [unanswered(), unanswered(), unanswered(), unanswered()]
    failing = Failing(*errors)
    with pytest.raises(ClusterError) as raised:
        Policy("thrice", first=0.001, longest=0.001, attempts=3).run(Context(), failing)
    assert raised.value is errors[2]
    assert failing.calls == 3


def test_on_failure_hears_of_each_failure_in_order() -> None:
    errors = [unanswered(), NoLeader("none"), DeadlineExceeded("inner")]
    heard: list[BaseException] = []
    QUICK.run(Context(), Failing(*errors), on_failure=heard.append)
    assert heard == errors


def test_on_failure_is_told_before_the_sleep() -> None:
    ctx, heard = Context(), []

    def hear(error: BaseException) -> None:
        heard.append(error)
        ctx.cancel()

    with within(SOON), pytest.raises(Cancelled):
        SLOW.run(ctx, Failing(then=unanswered), on_failure=hear)
    assert len(heard) == 1


class Timeless(Context):
    """A Context that does not wait, and remembers how long it should have."""

    __slots__ = ("asked",)

    def wait(self, seconds: float | None = None) -> bool:
        self.asked.append(seconds)
        return False


@named
def test_waits_grow_to_their_limit_and_are_drawn_so_that_clients_do_not_come_all_at_once(
    policy: Policy,
) -> None:
    drawn = []
    for _ in range(20):
        ctx = Timeless()
        ctx.asked = []
        policy.run(ctx, Failing(*[unanswered() for _ in range(12)]))
        drawn.append(ctx.asked)
    longest = [max(column) for column in zip(*drawn, strict=True)]
    shortest = [min(column) for column in zip(*drawn, strict=True)]
    allowed = [min(policy.longest, policy.first * 2**attempt) for attempt in range(12)]
    assert all(most <= limit for most, limit in zip(longest, allowed, strict=True))
    assert all(0 <= least < limit / 2 for least, limit in zip(shortest, allowed, strict=True))
    assert longest[-1] > policy.longest / 2
