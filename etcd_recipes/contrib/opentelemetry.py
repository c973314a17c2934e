"""OpenTelemetry: a span for each wait and for each hold.

``Tracing()``, once per process, after the tracer provider was set.

The spans
1. ``etcd_recipes.acquire``, for elections ``etcd_recipes.campaign``: the wait, from the call to its answer; a child
   of the span in which the call was made. It is made when the answer is there, so what is done meanwhile is none
   of its children.
2. ``etcd_recipes.hold``: from there to the release or the loss; a child of the same span. One that is held for days
   is exported when it ends, and not at all if the process is killed.

Attributes: ``etcd_recipes.kind``, ``.name``, ``.key``, ``.token``, ``.outcome``. A wait that ends by an error, and a
hold that is lost, have the status ERROR; one that is busy is no error.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from etcd_recipes.core import runtime
from etcd_recipes.core.errors import MissingDependency
from etcd_recipes.core.log import listen

try:
    from opentelemetry.trace import Span, StatusCode, TracerProvider, get_tracer
except ImportError as missing:
    raise MissingDependency(
        "etcd_recipes.contrib.opentelemetry needs its API: pip install 'etcd-recipes[otel]'"
    ) from missing

__all__ = ["Tracing"]

_FIELDS = ("kind", "key", "token", "outcome")


class Tracing:
    """Spans of all clients of this process, from now on, until `close`; used with ``with``, or closed.

    `provider` is a tracer provider; the global one if it is left out. In a forked child the parent's holds have no
    spans. No request.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = get_tracer("etcd_recipes", tracer_provider=provider)
        self._holds: dict[tuple[str, int], Span] = {}
        runtime.at_fork(self)
        self._end = listen(self._hear)

    def close(self) -> None:
        """Make no more spans; those of what is still held are ended. Idempotent."""
        self._end()
        holds, self._holds = self._holds, {}
        for span in holds.values():
            span.end()

    def __enter__(self) -> Self:
        """Give it itself."""
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
        """The spans of the parent are its own to end."""
        self._holds = {}

    def _hear(self, event: str, fields: Mapping[str, Any]) -> None:
        if event == "line.answered":
            self._answered(fields)
        elif event == "hold.acquired" and "token" in fields:  # several together have a hold each
            name = fields["key"].rpartition("/")[0]
            self._holds[fields["key"], fields["token"]] = self._tracer.start_span(
                "etcd_recipes.hold", attributes=_attributes(name, fields)
            )
        elif event == "hold.ended" and "token" in fields:
            span = self._holds.pop((fields["key"], fields["token"]), None)
            if span is not None:
                _finish(span, fields["state"], well=fields["state"] == "released")

    def _answered(self, fields: Mapping[str, Any]) -> None:
        now = runtime.wall_clock()
        what = "campaign" if fields["kind"] == "election" else "acquire"
        span = self._tracer.start_span(
            f"etcd_recipes.{what}",
            attributes=_attributes(fields["line"], fields),
            start_time=_nanoseconds(now - fields["waited"]),
        )
        outcome = fields["outcome"]
        _finish(span, outcome, well=outcome in ("admitted", "busy"), at=_nanoseconds(now))


def _attributes(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    known = {f"etcd_recipes.{field}": fields[field] for field in _FIELDS if field in fields}
    return {"etcd_recipes.name": name} | known


def _finish(span: Span, outcome: str, *, well: bool, at: int | None = None) -> None:
    span.set_attribute("etcd_recipes.outcome", outcome)
    if not well:
        span.set_status(StatusCode.ERROR, outcome)
    span.end(at)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
