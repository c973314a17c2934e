"""The figures, one in each file: its rule is the file's docstring, and stands on the page as it stands there."""

from __future__ import annotations

from benchmarks.figures import (
    failover,
    handoffs,
    holds,
    idle,
    latency,
    pairs,
    registry,
    start,
    takeover,
    watch,
)

__all__ = ["FIGURES"]

FIGURES = {
    module.FIGURE.name: module.FIGURE
    for module in (
        latency,
        pairs,
        handoffs,
        takeover,
        watch,
        registry,
        holds,
        idle,
        failover,
        start,
    )
}
