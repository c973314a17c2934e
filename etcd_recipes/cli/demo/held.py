"""What leader and hand have in common: work under a hold ends with the hold, and names it.

Rules of this file
1. What is changed in etcd under a hold is changed in one transaction with `still`: a worker that was
   replaced a moment ago, and does not know it yet, changes nothing.
2. What takes time under a hold takes it inside `while_held`: it ends the moment the hold is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from etcd_recipes import Cancelled, Context, Hold
from etcd_recipes.core.v3 import Compare

__all__ = ["Tell", "still", "while_held"]


class Tell(Protocol):
    """Tells the stage what happened; see `event` for the kinds."""

    def __call__(
        self, kind: str, *, job: str = "", token: int = 0, number: int = 0, text: str = ""
    ) -> None:
        """Tell it now."""


def still(hold: Hold) -> tuple[Compare, Compare]:
    """Give the conditions that hold in etcd for as long as `hold` does.

    Its key was there at the revision that is the token. A key that is made later under the same name, by
    whomever, has a higher create revision; one that is gone has none.
    """
    created = Compare.create_revision(hold.key)
    return created > 0, created < hold.token + 1


@contextmanager
def while_held(hold: Hold, ctx: Context) -> Iterator[Context]:
    """Run the body with a Context that ends when `hold` is lost, too; LockLost is raised then."""
    limited = ctx.child()
    hold.on_lost(limited.cancel)
    try:
        yield limited
    except Cancelled:
        ctx.check()
        hold.check()
        raise
