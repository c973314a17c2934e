"""A campaign beside an application: on a thread of its own, while a ``with`` body runs.

Rules of this file
1. `is_leader` asks the term, and so the clock: it is honest after a pause of the process.
2. The callbacks come in pairs, and one at a time: elected, lost, elected, lost. ``on_lost`` has returned
   before the term is resigned, so what it stops is stopped before the next leader begins. (After a loss
   nobody can promise that, nor when the body gives the term up, by `transfer` or `resign`: the term is over
   when it is called. The campaign begins anew.)
3. What a callback raises is logged, and changes nothing. What ends the campaign is logged at once, and
   raised when the body ends.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import ContextError, RecipeError
from etcd_recipes.core.log import event_logger
from etcd_recipes.recipes.election.leadership import Leadership

__all__ = ["Background"]


class _Candidate(Protocol):
    name: str

    def run(self, lead: Callable[[Leadership], object], *, ctx: Context | None = None) -> None: ...


class Background:
    """A campaign in the background; made by ``election.background()``, used with ``with``."""

    def __init__(
        self,
        election: _Candidate,
        on_elected: Callable[[], object] | None,
        on_lost: Callable[[], object] | None,
    ) -> None:
        self._election = election
        self._on_elected = on_elected
        self._on_lost = on_lost
        self._ctx = Context()
        self._thread: runtime.Thread | None = None
        self._term: Leadership | None = None
        self._error: BaseException | None = None
        self._log = event_logger("election").bind(election=election.name)

    @property
    def term(self) -> Leadership | None:
        """The term, while this process leads."""
        term = self._term
        return term if term is not None and term.is_held else None

    @property
    def is_leader(self) -> bool:
        """True while this process leads: local, cheap and honest."""
        return self.term is not None

    @property
    def error(self) -> BaseException | None:
        """What has ended the campaign for good (etcd refuses, the client was closed); None while it goes on."""
        return self._error

    def __enter__(self) -> Self:
        """Begin to campaign; RecipeError when it does so already."""
        if self._thread is not None:
            raise RecipeError(
                f"this background campaign for {self._election.name!r} runs already; make another one"
            )
        self._ctx, self._error = Context(), None
        self._thread = runtime.spawn(self._run, "etcd-recipes-election")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop campaigning, resign if leading, and wait for the thread and its callbacks.

        Raises what had ended the campaign before (ResponseError when etcd refuses, SessionLost when the
        client was closed), if the body did not raise anything itself.
        """
        self._ctx.cancel("the background election was left")
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _run(self) -> None:
        try:
            self._election.run(self._lead, ctx=self._ctx)
        except ContextError:
            pass  # left
        except BaseException as error:  # noqa: BLE001 (kept for the thread that has entered)
            self._error = error
            self._log.exception("election.background_ended")

    def _lead(self, term: Leadership) -> None:
        ended = runtime.new_event()
        self._term = term
        try:
            self._call(self._on_elected)
            term.lost._listen(ended.set)  # of a release, too: whoever sees `term` may give it up
            with self._ctx.on_cancel(ended.set):
                if not term.lost.is_set():  # before anybody listened
                    ended.wait(None)
        finally:
            self._term = None
            self._call(self._on_lost)

    def _call(self, callback: Callable[[], object] | None) -> None:
        if callback is not None:
            try:
                callback()
            except Exception:  # noqa: BLE001 (the user's code: whatever it raises is logged)
                self._log.exception("election.callback_failed")
