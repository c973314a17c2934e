"""Clusters of endpoints in the order in which a test names them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from etcd_recipes.core.http.cluster import Cluster
from etcd_recipes.core.http.endpoints import Ring
from etcd_recipes.core.http.wire import Wire

__all__ = ["cluster_of"]


@contextmanager
def cluster_of(*endpoints: str, header_timeout: float | None = 1.0) -> Iterator[Cluster]:
    """Give a cluster that asks these endpoints in this order; closed at the end."""
    cluster = Cluster(Wire(), endpoints, header_timeout=header_timeout)
    cluster._ring = Ring(endpoints)
    try:
        yield cluster
    finally:
        cluster.close()
