"""Celery: a beat that runs on one of many, and tasks that run one at a time.

``celery -A app beat -S etcd_recipes.contrib.celery:LeaderScheduler``, on as many machines as you like.

The algorithm of the beat
1. The first tick begins a campaign, on a thread of its own. A tick without a term sends nothing.
2. A new term begins with what etcd knows: when each entry ran last, whoever led then. So an entry that was due
   while nobody led runs once, and one that another leader has sent does not run again.
3. An entry that is due is claimed before it is sent: its time is written to etcd, in one transaction with the
   condition that this very term stands (on v2: that nobody has written since). What cannot be claimed stays due.
4. The term is looked at once more before the message goes out. Whatever Celery does in between takes moments; a
   process that is stopped right there for longer than its ttl sends late, but not twice: the next leader has
   found the claim.
5. The end of the beat resigns, so that the next one takes over at once.

Rules of this file
1. At most once: between the claim and the message a kill loses that one run, as in Celery's own beat, which
   moves on before it sends, too. etcd away means that nothing is sent, for it could be sent twice.
2. The times lie beside the election, ``<election>.schedule/<entry>``: what lies below its name stands in its line.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Literal, ParamSpec, Protocol, TypeVar
from urllib.parse import quote, unquote

from etcd_recipes.client import Client
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import (
    EtcdRecipesError,
    KeyNotFound,
    LockLost,
    MissingDependency,
)
from etcd_recipes.core.log import event_logger
from etcd_recipes.core.v3 import Op
from etcd_recipes.recipes.election import Background, Leadership

try:
    from celery import current_app
    from celery.beat import ScheduleEntry
    from celery.utils.imports import symbol_by_name
except ImportError as missing:
    raise MissingDependency(
        "etcd_recipes.contrib.celery needs Celery: pip install celery"
    ) from missing

__all__ = ["LeaderMixin", "LeaderScheduler", "client_of", "exclusive_task"]

P = ParamSpec("P")
R = TypeVar("R")

_LOOK = 0.2
"""Seconds between two looks at the own term, while another one leads. It asks a clock, not etcd."""

_AGAIN = 1.0
"""Seconds after which an entry that could not be claimed is looked at again."""

_FAREWELL = 2.0
"""Seconds that the end of the beat waits for its resignation; the session's end completes it."""


def client_of(app: Any) -> Client:
    """Give the client of a Celery app, made at the first call from the app's settings. No request.

    ``etcd_recipes_endpoints`` (a URL or a list of them; without it, ETCDCTL_*), ``etcd_recipes_ttl`` (seconds, 15),
    ``etcd_recipes_api`` ("v3" or "v2"), and ``etcd_recipes_options``, a dict of further arguments of `Client`. It
    works in the children of a prefork worker, too: there it has connections and sessions of its own.
    """
    client = getattr(app, "_etcd_recipes_client", None)
    if client is None:
        conf = app.conf
        options = dict(conf.get("etcd_recipes_options") or {})
        options["api"] = conf.get("etcd_recipes_api") or "v3"
        if ttl := conf.get("etcd_recipes_ttl"):
            options["session_ttl"] = ttl
        endpoints = conf.get("etcd_recipes_endpoints")
        client = Client(endpoints, **options) if endpoints else Client.from_env(**options)
        app._etcd_recipes_client = client
    return client


# -- the beat ------------------------------------------------------------------------------------------------


class LeaderMixin:
    """Makes any scheduler of Celery send only while it leads: ``class Mine(LeaderMixin, DatabaseScheduler)``.

    The election is the setting ``etcd_recipes_election`` (``celery/beat``); the client is `client_of`. With
    ``lazy=True``, as Celery makes one to describe it, it never campaigns.
    """

    _campaign: Background | None = None
    _term: Leadership | None = None
    _runs: _Runs

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due, while leading; give the seconds until the next tick."""
        term = self._background().term
        if term is None:
            self._term = None
            return _LOOK
        try:
            if self._term is not term:
                self._take_over(term)
            term.check()
            return float(super().tick(*args, **kwargs))  # type: ignore[misc]
        except LockLost:
            return _LOOK
        except EtcdRecipesError as error:
            _log().warning("celery.trouble", error=str(error))
            return _AGAIN

    def is_due(self, entry: ScheduleEntry) -> Any:
        """Claim an entry that is due; one that cannot be claimed is not due, and looked at again."""
        due, later = super().is_due(entry)  # type: ignore[misc]
        if not due:
            return due, later
        # Nothing is raised here: Celery would leave the entry alone for five minutes.
        try:
            if self._runs.claim(self._leading(), entry.name, entry.default_now()):
                return due, later
        except EtcdRecipesError as error:
            _log().warning("celery.not_claimed", entry=entry.name, error=str(error))
        return False, _AGAIN

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send, unless the term has ended since the claim."""
        self._leading().check()
        super().apply_entry(entry, producer=producer)  # type: ignore[misc]

    def close(self) -> None:
        """Stop campaigning, resign, and close as the scheduler does."""
        campaign, self._campaign = self._campaign, None
        if campaign is not None:
            # Celery calls this from its handler of SIGTERM too: the thread that it has interrupted may be
            # amid a call, so the wait has an end.
            runtime.spawn(partial(_leave, campaign), "etcd-recipes-celery-resigns").join(_FAREWELL)
        super().close()  # type: ignore[misc]

    def _background(self) -> Background:
        if self._campaign is None:
            app = self.app  # type: ignore[attr-defined]
            client = client_of(app)
            election = client.election(app.conf.get("etcd_recipes_election") or "celery/beat")
            v2 = app.conf.get("etcd_recipes_api") == "v2"
            self._runs = (_V2Runs if v2 else _V3Runs)(client, election.name)
            self._campaign = election.background()
            self._campaign.__enter__()
        if self._campaign.error is not None:
            raise self._campaign.error  # etcd refuses: a supervisor should know
        return self._campaign

    def _leading(self) -> Leadership:
        if self._term is None:
            raise LockLost("this beat does not lead")
        return self._term

    def _take_over(self, term: Leadership) -> None:
        """Step 2. What nobody has written yet is written now, or every leader would count from its own start."""
        known = self._runs.read(Context(term.remaining()))
        schedule: Mapping[str, ScheduleEntry] = self.schedule  # type: ignore[attr-defined]
        for name, entry in schedule.items():
            if (last := known.get(name)) is not None:
                entry.last_run_at = last.astimezone(entry.last_run_at.tzinfo)
            elif not self._runs.claim(term, name, entry.last_run_at):
                raise LockLost("the term has ended while it began")
        self._heap = None  # made anew from these times
        self._term = term
        _log().info("celery.leads", token=term.token, entries=len(schedule))


class LeaderScheduler:
    """The beat's scheduler, for ``-S``: that of the setting ``etcd_recipes_scheduler``, with a `LeaderMixin`.

    It is ``celery.beat:Scheduler`` if the setting is not there: the times of the last runs lie in etcd, so the
    file of Celery's PersistentScheduler would be a second truth, and two beats in one folder break it.
    """

    def __new__(cls, app: Any, **options: Any) -> Any:
        """Make the scheduler; `options` are those that Celery gives."""
        wrapped = symbol_by_name(app.conf.get("etcd_recipes_scheduler") or "celery.beat:Scheduler")
        led = type(f"Leader{wrapped.__name__}", (LeaderMixin, wrapped), {})
        return led(app=app, **options)


class _Runs(Protocol):
    """When each entry ran last, in etcd."""

    def __init__(self, client: Client, election: str) -> None: ...

    def read(self, ctx: Context) -> dict[str, datetime]:
        """Give what is known: 1 request."""

    def claim(self, term: Leadership, name: str, at: datetime) -> bool:
        """Write that `name` ran at this time, if `term` stands; tell whether it is written: 1 request."""


def _leave(campaign: Background) -> None:
    with suppress(Exception):  # it had ended before, and was raised then
        campaign.__exit__(None, None, None)


def _value(term: Leadership, at: datetime) -> str:
    return json.dumps({"last_run_at": at.isoformat(), "token": term.token})


def _time(value: str) -> datetime | None:
    try:
        return datetime.fromisoformat(json.loads(value)["last_run_at"])
    except (ValueError, KeyError, TypeError):
        return None  # somebody else's


class _V3Runs:
    def __init__(self, client: Client, election: str) -> None:
        self._kv = client.v3.kv
        self._prefix = f"{election}.schedule/"

    def read(self, ctx: Context) -> dict[str, datetime]:
        found = self._kv.range(self._prefix, prefix=True, ctx=ctx).kvs
        times = {unquote(kv.key.decode()[len(self._prefix) :]): _time(kv.text) for kv in found}
        return {name: time for name, time in times.items() if time is not None}

    def claim(self, term: Leadership, name: str, at: datetime) -> bool:
        # May be carried out twice: both copies write the same, and only while the term stands.
        put = Op.put(self._prefix + quote(name, safe=""), _value(term, at))
        left = Context(term.remaining())
        return self._kv.txn([term.guard], [put], replay=True, ctx=left).succeeded


class _V2Runs:
    """v2 has no transactions: a value is written over the one that was read, or not at all."""

    def __init__(self, client: Client, election: str) -> None:
        self._keys = client.v2.keys
        self._folder = f"{election}.schedule"
        self._known: dict[str, str] = {}

    def read(self, ctx: Context) -> dict[str, datetime]:
        try:
            folder = self._keys.get(self._folder, quorum=True, ctx=ctx).node
        except KeyNotFound:
            folder = None
        nodes = folder.nodes if folder is not None else ()
        self._known = {unquote(node.key.rpartition("/")[2]): node.value for node in nodes}
        times = {name: _time(value) for name, value in self._known.items()}
        return {name: time for name, time in times.items() if time is not None}

    def claim(self, term: Leadership, name: str, at: datetime) -> bool:
        key, value = f"{self._folder}/{quote(name, safe='')}", _value(term, at)
        left = Context(term.remaining())
        before = self._known.get(name)
        try:
            if before is None:
                self._keys.create(key, value, ctx=left)
            else:
                self._keys.set(key, value, prev_value=before, ctx=left)
        except EtcdRecipesError:
            # Whatever it was: it is claimed if our value stands there.
            self.read(left)
            return self._known.get(name) == value
        self._known[name] = value
        return True


def _log() -> Any:
    return event_logger("celery")


# -- tasks ---------------------------------------------------------------------------------------------------


def exclusive_task(
    name: str | Callable[P, str],
    *,
    client: Client | None = None,
    on_busy: Literal["skip", "wait", "raise"] = "skip",
    ttl: float | None = None,
    max_hold: float | None = None,
    heartbeat: float | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R | None]]:
    """Decorate a task, below ``@app.task``, so that it runs one at a time, whichever worker runs it.

    `name` is the lock's, or a function of the task's arguments that gives it. A task that finds it taken is
    skipped (and gives None), waits, or raises NotAcquired, which Celery's ``autoretry_for`` can take. The lease is
    renewed for as long as the task runs, so no ttl has to be as long as a task; LockLost at its end when it was
    lost. In the task ``current_hold()`` gives the hold. The limits are those of ``client.lock``; `client` is
    that of the current app (`client_of`) if none is given. 2 requests per run, 1 per skip.
    """

    def decorate(task: Callable[P, R]) -> Callable[P, R | None]:
        @functools.wraps(task)
        def run(*args: P.args, **kwargs: P.kwargs) -> R | None:
            lock = name if isinstance(name, str) else name(*args, **kwargs)
            here = client or client_of(current_app._get_current_object())
            limits: Any = {"ttl": ttl, "max_hold": max_hold, "heartbeat": heartbeat}
            return here.exclusive(lock, on_busy=on_busy, **limits)(task)(*args, **kwargs)

        return run

    if on_busy not in ("skip", "wait", "raise"):
        raise ValueError(f"on_busy is 'skip', 'wait' or 'raise', not {on_busy!r}")
    return decorate
