"""The named policies by which the library tries again; every one ends with its Context.

Rules of this file
1. A core call makes one walk over the endpoints and is not repeated, unless the client was given a
   policy. Recipes, renewals, followers and sweepers go on by a policy that has a name here.
2. A policy never sleeps past a deadline, and a cancel ends its sleep at once.
3. Only what may be repeated is given to a policy: every verb of the Store is safe to repeat.
4. Back-off is exponential with full jitter: when etcd comes back, its clients do not come all at once.
5. What works at once costs no more than the call: the first attempt is made before anything is set up for others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential
from tenacity.stop import stop_after_attempt, stop_never

from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    ClusterError,
    ContextError,
    EtcdRecipesError,
    LeaseNotFound,
    LockLost,
    NoLeader,
    SessionLost,
)

__all__ = [
    "CAMPAIGN",
    "HEALING",
    "OPENING",
    "PATIENT",
    "RENEWAL",
    "SWEEPING",
    "Policy",
    "Retry",
    "walk",
]

T = TypeVar("T")


def _unanswered(error: BaseException) -> bool:
    return isinstance(error, ClusterError | NoLeader)


def _anything(error: BaseException) -> bool:
    return isinstance(error, EtcdRecipesError) and not isinstance(error, ContextError)


def _unless_gone(error: BaseException) -> bool:
    return _anything(error) and not isinstance(error, LeaseNotFound)


def _between_terms(error: BaseException) -> bool:
    return isinstance(error, ClusterError | NoLeader | SessionLost | LockLost)


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and after how long something is tried again; `first` and `longest` are seconds."""

    name: str
    first: float
    longest: float
    attempts: int | None = None
    again: Callable[[BaseException], bool] = _unanswered

    def run(
        self,
        ctx: Context,
        call: Callable[[], T],
        *,
        on_failure: Callable[[BaseException], None] | None = None,
        unless: Callable[[BaseException], bool] = lambda _: False,
    ) -> T:
        """Give what `call` gives, trying again by this policy; `on_failure` hears of each failure.

        What `unless` says yes to is not tried again.

        Raises the last error when the policy gives up, and the Context's error when that ends first.
        """
        try:
            return call()
        except EtcdRecipesError as error:
            first = [error]

        def attempt() -> T:
            if first:
                raise first.pop()  # it counts as the first one
            return call()

        def failed(error: BaseException) -> bool:
            # The end of a limit further in is a failure like any other; only `ctx` ends the policy.
            mine = self.again(error) or (isinstance(error, ContextError) and not ctx.done)
            return mine and not unless(error)

        def tell(state: RetryCallState) -> None:
            if on_failure is not None and state.outcome is not None:
                error = state.outcome.exception()
                if error is not None:
                    on_failure(error)

        def sleep(seconds: float) -> None:
            ctx.wait(seconds)
            ctx.check()

        retrying = Retrying(
            sleep=sleep,
            stop=stop_never if self.attempts is None else stop_after_attempt(self.attempts),
            wait=wait_random_exponential(multiplier=self.first, max=self.longest),
            retry=retry_if_exception(failed),
            before_sleep=tell,
            reraise=True,
        )
        return retrying(attempt)


@dataclass(frozen=True, slots=True)
class Retry(Policy):
    """How often a client walks over its endpoints when none of them answers: `attempts` walks in all.

    Between two walks it waits a random time that grows from `first` up to `longest` seconds. `attempts`
    None means: until the call's own limit. A write that may have been carried out is never sent again.
    """

    name: str = "client"
    first: float = 0.05
    longest: float = 1.0
    attempts: int | None = 3

    def __post_init__(self) -> None:
        """Raise ValueError for numbers that make no sense."""
        if self.attempts is not None and self.attempts < 1:
            raise ValueError(f"attempts is 1 or more, or None; got {self.attempts}")
        if not 0 <= self.first <= self.longest:
            raise ValueError(
                f"first and longest are seconds, 0 <= first <= longest; got {self.first}, {self.longest}"
            )


def walk(policy: Policy | None, ctx: Context, once: Callable[[], T], *, replay: bool) -> T:
    """Give what `once` gives, one walk over the endpoints; walk again by the `policy`, if there is one.

    Without `replay` a walk that may have had an effect is the last one.
    """
    if policy is None:
        return once()

    def in_doubt(error: BaseException) -> bool:
        return isinstance(error, ClusterError | ContextError) and error.maybe_applied and not replay

    return policy.run(ctx, once, unless=in_doubt)


OPENING = Policy("opening", first=0.05, longest=1.0)
"""The first contact of a client; bounded by the client's default timeout."""

PATIENT = Policy("patient", first=0.02, longest=1.0)
"""A waiter in line: for as long as its caller waits."""

CAMPAIGN = Policy("campaign", first=0.05, longest=2.0, again=_between_terms)
"""A candidate that wants to lead for ever: also past a lost session, which the next attempt replaces."""

RENEWAL = Policy("renewal", first=0.02, longest=0.5, again=_unless_gone)
"""The renewal of a lease: until the lease's own deadline."""

SWEEPING = Policy("sweeping", first=0.05, longest=2.0, again=_anything)
"""The removal of a key that must not stay: until it is confirmed or its lease has ended."""

HEALING = Policy("healing", first=0.05, longest=5.0, again=_anything)
"""A registration or a follower: for ever."""
