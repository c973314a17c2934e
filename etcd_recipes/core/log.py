"""Log events: structlog over the standard library's logger ``etcd_recipes``, silent until configured.

Rules of this file
1. Nothing is printed by a program that did not configure logging: the logger has a NullHandler, and its
   level is the application's to set. An unconfigured structlog would print DEBUG lines to stdout.
2. An event has a stable dotted name (``session.lost``) and plain fields; names and fields are API.
3. No secret is ever a field.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

__all__ = ["event_logger"]

logging.getLogger("etcd_recipes").addHandler(logging.NullHandler())


@cache
def event_logger(name: str) -> Any:
    """Give the structlog logger over ``logging.getLogger("etcd_recipes.<name>")``."""
    import structlog  # not at import time: it costs as much as the rest of the core

    return structlog.wrap_logger(
        logging.getLogger(f"etcd_recipes.{name}"),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
