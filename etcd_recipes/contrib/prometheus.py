"""Prometheus: what sessions, holds, waits, registrations, views and endpoints do, as metrics.

``Collector()`` registers itself; nothing else of a program changes.

Rules of this file
1. Everything is counted from the library's events (`core.log.listen`), on the thread where they happen: a look into
   a dict and an addition. What changes by itself (remaining seconds, ages) is computed when it is scraped.
2. A label has few values. Names of locks can be many (``orders/4711``): `name` folds them.
"""

from __future__ import annotations

import weakref
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from etcd_recipes.core import runtime
from etcd_recipes.core.errors import MissingDependency
from etcd_recipes.core.log import listen
from etcd_recipes.recipes.registry import Discovery

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, Metric
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector as _Base
except ImportError as missing:
    raise MissingDependency(
        "etcd_recipes.contrib.prometheus needs prometheus-client: pip install 'etcd-recipes[metrics]'"
    ) from missing

__all__ = ["Collector"]

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SLOW = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)


class Collector(_Base):
    """Metrics of all clients of this process, from now on; registered with `registry` until `close`.

    `name` gives the label for the name of a lock, election or semaphore: itself if it is left out. `watch` adds a
    view. In a forked child the counts go on from the parent's, and it holds nothing. Used with ``with``, or closed.
    No request.
    """

    def __init__(
        self,
        registry: CollectorRegistry = REGISTRY,
        *,
        name: Callable[[str], str] = str,
    ) -> None:
        self._name = name
        self._sessions: dict[str, tuple[str, float, float]] = {}  # state, ttl, deadline
        self._holds: dict[tuple[str, int], tuple[str, str]] = {}
        self._registrations: dict[tuple[str, str], None] = {}
        self._views: weakref.WeakSet[Discovery] = weakref.WeakSet()
        self._renewals = Histogram(
            "etcd_recipes_renewal_seconds",
            "Renewals of leases that succeeded",
            buckets=_QUICK,
            registry=None,
        )
        self._suspensions = Counter(
            "etcd_recipes_session_suspensions",
            "Times at which renewals began to fail",
            registry=None,
        )
        self._losses = Counter(
            "etcd_recipes_session_losses", "Sessions that were lost", registry=None
        )
        self._waits = Histogram(
            "etcd_recipes_wait_seconds",
            "Waiting for locks, terms and permits",
            ["kind", "name", "outcome"],
            buckets=_SLOW,
            registry=None,
        )
        self._held = Histogram(
            "etcd_recipes_hold_seconds",
            "Holds that have ended",
            ["kind", "name", "state"],
            buckets=_SLOW,
            registry=None,
        )
        self._attempts = Histogram(
            "etcd_recipes_attempt_seconds",
            "Attempts at endpoints",
            ["endpoint", "outcome"],
            buckets=_QUICK,
            registry=None,
        )
        self._hearing: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "session.opened": self._kept,
            "session.renewed": self._renewed,
            "session.suspended": self._suspended,
            "session.closed": self._session_over,
            "session.lost": self._session_lost,
            "hold.acquired": self._acquired,
            "hold.ended": self._hold_ended,
            "line.answered": self._answered,
            "http.attempt": self._attempted,
            "registration.published": self._published,
            "registration.withdrawn": self._not_listed,
            "registration.lost": self._not_listed,
        }
        self._registry = registry
        registry.register(self)
        runtime.at_fork(self)
        self._end = listen(self._hear)

    def watch(self, view: Discovery) -> Discovery:
        """Have this view's age and instances among the metrics, as long as it lives; gives it back."""
        self._views.add(view)
        return view

    def close(self) -> None:
        """Stop counting, and unregister. Idempotent."""
        self._end()
        try:
            self._registry.unregister(self)
        except KeyError:
            pass  # closed before

    def __enter__(self) -> Self:
        """Give the collector itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def after_fork_in_child(self) -> None:
        """A child holds nothing."""
        self._sessions, self._holds, self._registrations = {}, {}, {}

    # -- what happens ------------------------------------------------------------------------------------------

    def _hear(self, event: str, fields: Mapping[str, Any]) -> None:
        if (hear := self._hearing.get(event)) is not None:
            hear(fields)

    def _kept(self, fields: Mapping[str, Any]) -> None:
        deadline = runtime.now() + fields["remaining"]
        self._sessions[fields["lease"]] = ("active", fields["ttl"], deadline)

    def _renewed(self, fields: Mapping[str, Any]) -> None:
        self._renewals.observe(fields["took"])
        if fields["lease"] in self._sessions:  # not after its end
            self._kept(fields)

    def _suspended(self, fields: Mapping[str, Any]) -> None:
        self._suspensions.inc()
        if (session := self._sessions.get(fields["lease"])) is not None:
            self._sessions[fields["lease"]] = ("suspended", *session[1:])

    def _session_over(self, fields: Mapping[str, Any]) -> None:
        self._sessions.pop(fields["lease"], None)

    def _session_lost(self, fields: Mapping[str, Any]) -> None:
        self._losses.inc()
        self._session_over(fields)

    def _acquired(self, fields: Mapping[str, Any]) -> None:
        if "token" in fields:  # several together have a hold each
            self._holds[fields["key"], fields["token"]] = (fields["kind"], self._label(fields))

    def _hold_ended(self, fields: Mapping[str, Any]) -> None:
        if "token" in fields:
            self._holds.pop((fields["key"], fields["token"]), None)
            labels = fields["kind"], self._label(fields), fields["state"]
            self._held.labels(*labels).observe(fields["held"])

    def _answered(self, fields: Mapping[str, Any]) -> None:
        labels = fields["kind"], self._name(fields["line"]), fields["outcome"]
        self._waits.labels(*labels).observe(fields["waited"])

    def _attempted(self, fields: Mapping[str, Any]) -> None:
        labels = fields["endpoint"], fields["outcome"]
        self._attempts.labels(*labels).observe(fields["took"])

    def _published(self, fields: Mapping[str, Any]) -> None:
        self._registrations[fields["service"], fields["key"]] = None

    def _not_listed(self, fields: Mapping[str, Any]) -> None:
        self._registrations.pop((fields["service"], fields["key"]), None)

    def _label(self, fields: Mapping[str, Any]) -> str:
        return self._name(fields["key"].rpartition("/")[0])

    # -- what is scraped ---------------------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """Give the metrics, for Prometheus's registry."""
        for metric in (
            self._renewals,
            self._suspensions,
            self._losses,
            self._waits,
            self._held,
            self._attempts,
        ):
            yield from metric.collect()
        yield from self._of_sessions()
        yield _gauge(
            "etcd_recipes_holds",
            "What is held now",
            ["kind", "name"],
            Tally(list(self._holds.values())),
        )
        yield _gauge(
            "etcd_recipes_registrations",
            "Instances that this process has listed",
            ["service"],
            Tally((service,) for service, _ in list(self._registrations)),
        )
        yield from self._of_views()

    def _of_sessions(self) -> Iterator[Metric]:
        now = runtime.now()
        sessions = list(self._sessions.values())
        least: dict[tuple[str, ...], float] = {}
        for _, ttl, deadline in sessions:
            label = (f"{ttl:g}",)
            least[label] = min(least.get(label, ttl), max(0.0, deadline - now))
        states: dict[tuple[str, ...], float] = {("active",): 0, ("suspended",): 0}
        states |= Tally((state,) for state, _, _ in sessions)
        yield _gauge("etcd_recipes_sessions", "Sessions that live", ["state"], states)
        yield _gauge(
            "etcd_recipes_session_remaining_seconds",
            "For how long a lease is provably ours without another renewal, the least of those with this ttl",
            ["ttl"],
            least,
        )

    def _of_views(self) -> Iterator[Metric]:
        views = [view for view in list(self._views) if not view.closed]
        what: tuple[tuple[str, str, Callable[[Discovery], float]], ...] = (
            ("age_seconds", "Since etcd last confirmed the list", lambda view: view.age),
            ("instances", "Instances that take work", lambda view: len(view.instances)),
            (
                "suspects",
                "Instances that have vanished with many others",
                lambda v: len(v.suspects),
            ),
        )
        for name, text, read in what:
            values: dict[tuple[str, ...], float] = {(view.service,): read(view) for view in views}
            yield _gauge(f"etcd_recipes_view_{name}", text, ["service"], values)


def _gauge(
    name: str, text: str, labels: list[str], values: Mapping[Any, float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
