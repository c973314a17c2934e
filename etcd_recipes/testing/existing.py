"""An etcd that somebody else has started, and will stop."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ExistingEtcd"]


@dataclass(frozen=True, slots=True)
class ExistingEtcd:
    """What the fixture `etcd` gives with ``--etcd-url``: `endpoint`, and nothing to stop or kill."""

    endpoint: str
