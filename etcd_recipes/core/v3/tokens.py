"""The token that stands for a user's name and password: fetched once, shared, renewed when it has died.

The algorithm
1. A call takes the token there is; the first one fetches it. While one call fetches, the others wait for
   its result, each as long as its own limit allows.
2. When etcd refuses the token (it expired, its member was restarted, users changed), the call says which
   one it used. If there is a newer one by now, that one is taken; otherwise step 1 fetches one. Each call
   tries once more, and only once: a second refusal is an answer.
   A fetch that etcd refuses (a wrong password) is refused for all who waited for it.
3. A server whose auth is off gives no token, and refuses every request that carries one. Then there is
   none, until a request is refused for the lack of it.

Rules of this file
* No lock is held while a request is under way.
* Neither the password nor a token ever stands in a message, a log line or a repr.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import EtcdError

__all__ = ["Token", "Tokens"]

Token = str
"""What stands in the Authorization header; empty when auth is off."""


class _Ticket:
    """One that waits for a fetch of somebody else's."""

    __slots__ = ("called", "refusal")

    def __init__(self) -> None:
        self.called = runtime.new_event()
        self.refusal: EtcdError | None = None


class Tokens:
    """See the module's docstring; `fetch` asks etcd for a token, and gives "" if its auth is off."""

    def __init__(self, fetch: Callable[[Context], Token]) -> None:
        self._fetch = fetch
        self._token: Token | None = None
        self._fetching = False
        self._waiting: list[_Ticket] = []
        self._lock = runtime.new_lock()
        runtime.at_fork(self)

    def get(self, ctx: Context, refused: Token | None = None) -> Token:
        """Give the token, fetching it if there is none but the `refused` one.

        Raises what the fetch raises (Unauthenticated for a wrong password), and the Context's error.
        """
        while True:
            ticket = _Ticket()
            with self._lock:
                if self._token is not None and self._token != refused:
                    return self._token
                must_wait = self._fetching
                if must_wait:
                    self._waiting.append(ticket)
                self._fetching = True
            if not must_wait:
                return self._fetched(ctx)
            ctx.wait_for(ticket.called)
            if ticket.refusal is not None:
                raise copy(ticket.refusal)

    def _fetched(self, ctx: Context) -> Token:
        """Fetch; whether that works or not, those who wait look again, and one of them fetches next."""
        token: Token | None = None
        refusal: EtcdError | None = None
        try:
            token = self._fetch(ctx)
            return token
        except EtcdError as error:
            refusal = error
            raise
        finally:
            with self._lock:
                self._token = token
                self._fetching = False
                waiting, self._waiting = self._waiting, []
            for ticket in waiting:
                ticket.refusal = refusal
                ticket.called.set()

    def after_fork_in_child(self) -> None:
        """Forget a fetch that a thread of the parent had under way; the token itself is as good here."""
        self._lock = runtime.new_lock()
        self._fetching = False
        self._waiting = []
