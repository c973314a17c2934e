"""Log events: structlog over the standard library's logger ``etcd_recipes``, silent until configured.

Rules of this file
1. Nothing is printed by a program that did not configure logging: the logger has a NullHandler, and its
   level is the application's to set. An unconfigured structlog would print DEBUG lines to stdout.
2. An event has a stable dotted name (``session.lost``) and plain fields; names and fields are API.
3. No secret is ever a field.
4. What counts or traces listens to the same events (`listen`), whatever level logging has. Where nobody
   listens, that costs the look at an empty tuple. What a listener raises is logged, once, and goes no further;
   what is logged while a listener runs is not told to listeners again.
5. No event is logged inside a Lock of the library, so a listener cannot meet one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
from functools import cache
from typing import Any

__all__ = ["EventLogger", "Listener", "event_logger", "is_heard", "listen"]

logging.getLogger("etcd_recipes").addHandler(logging.NullHandler())

Listener = Callable[[str, Mapping[str, Any]], object]
"""Called with an event's name and its fields, on the thread where it happens: it must be quick."""

_listeners: tuple[
    Listener, ...
] = ()  # replaced as a whole: who is telling goes on with the old one
_telling: ContextVar[bool] = ContextVar("etcd_recipes_telling", default=False)


class EventLogger:
    """Logs events with these fields; of an event that nobody wants, nothing is made at all."""

    __slots__ = ("_fields", "_inner", "_logger")

    def __init__(self, inner: Any, logger: logging.Logger, fields: dict[str, Any]) -> None:
        self._inner = inner  # structlog's
        self._logger = logger
        self._fields = fields

    def bind(self, **fields: Any) -> EventLogger:
        """Give a logger that adds `fields` to each event."""
        return EventLogger(self._inner, self._logger, self._fields | fields)

    @property
    def wants_debug(self) -> bool:
        """True if anybody hears `debug`: for fields that cost the hot road something."""
        return bool(_listeners) or self._logger.isEnabledFor(logging.DEBUG)

    def debug(self, event: str, **fields: Any) -> None:
        """Log at level DEBUG."""
        if self.wants_debug:
            self._inner.debug(event, **(self._fields | fields))

    def info(self, event: str, **fields: Any) -> None:
        """Log at level INFO."""
        if _listeners or self._logger.isEnabledFor(logging.INFO):
            self._inner.info(event, **(self._fields | fields))

    def warning(self, event: str, **fields: Any) -> None:
        """Log at level WARNING."""
        self._inner.warning(event, **(self._fields | fields))

    def error(self, event: str, **fields: Any) -> None:
        """Log at level ERROR."""
        self._inner.error(event, **(self._fields | fields))

    def exception(self, event: str, **fields: Any) -> None:
        """Log at level ERROR, with the exception that is being handled."""
        self._inner.exception(event, **(self._fields | fields))


@cache
def event_logger(name: str) -> EventLogger:
    """Give the structlog logger over ``logging.getLogger("etcd_recipes.<name>")``."""
    import structlog  # not at import time: it costs as much as the rest of the core

    logger = logging.getLogger(f"etcd_recipes.{name}")
    inner = structlog.wrap_logger(
        logger,
        processors=[
            _tell,
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return EventLogger(inner, logger, {})


def listen(listener: Listener) -> Callable[[], None]:
    """Have ``listener(event, fields)`` called at every event, of every level; gives what ends that.

    It runs on the thread that does the work, the one that renews leases included, so it must be quick, must
    not block, and must not call etcd. What it raises is logged (``log.listener_failed``), and changes nothing.
    """
    global _listeners  # noqa: PLW0603 (one log per process)
    _listeners = (*_listeners, listener)

    def end() -> None:
        global _listeners  # noqa: PLW0603
        _listeners = tuple(each for each in _listeners if each is not listener)

    return end


def is_heard() -> bool:
    """Tell whether anybody listens: for events that would cost the hot road something."""
    return bool(_listeners)


def _tell(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Tell the listeners; the first of the processors, before a level can drop the event."""
    listeners = _listeners
    if listeners and not _telling.get():
        before = _telling.set(True)
        try:
            for listener in listeners:
                _call(listener, event)
        finally:
            _telling.reset(before)
    return event


_failed: set[int] = set()


def _call(listener: Listener, event: Mapping[str, Any]) -> None:
    fields = dict(event)  # a copy: the event goes on to the log
    name = fields.pop("event", "")
    try:
        listener(name, fields)
    except Exception:  # noqa: BLE001 (the user's code: it must not end a renewal)
        if id(listener) not in _failed:
            _failed.add(id(listener))
            event_logger("log").exception("log.listener_failed", heard=name)
