"""Instances: what a registered service says about itself, and what of that is accepted.

Rules of this file
1. Values and pure functions. How an instance stands in etcd is the codec's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Instance", "check_instance", "check_metadata", "is_weight"]

_MAX_WEIGHT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Instance:
    """One registered instance of a service.

    `id` is unique within the service, `address` whatever its clients connect to. `weight` is its share of
    the work (``pick("weighted")``), `zone` where it is (``pick("zone")``). A `draining` instance finishes
    what it has and wants no new work. `metadata` is its own, from str to str. `owner` tells one registration
    from another of the same id: the registry draws it, and two instances that differ in it alone are equal.
    """

    service: str
    id: str
    address: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    weight: int = 1
    zone: str = ""
    draining: bool = False
    owner: str = field(default="", compare=False, repr=False)


def is_weight(value: object) -> bool:
    """Tell whether `value` is a weight: an int, no bool, from 0 to 2**31 - 1."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_WEIGHT


def check_instance(instance: Instance) -> Instance:
    """Give `instance` back; ValueError or TypeError for a field that makes no sense."""
    for name in ("address", "zone"):
        if not isinstance(getattr(instance, name), str):
            raise TypeError(f"{name} is a str, not {type(getattr(instance, name)).__name__}")
    if not instance.address:
        raise ValueError("an address must not be empty")
    if isinstance(instance.weight, bool) or not isinstance(instance.weight, int):
        raise TypeError(f"a weight is a whole number, not {instance.weight!r}")
    if not is_weight(instance.weight):
        raise ValueError(f"a weight is 0 or more, up to {_MAX_WEIGHT}; got {instance.weight!r}")
    if not isinstance(instance.draining, bool):
        raise TypeError(f"draining is True or False, not {instance.draining!r}")
    return instance


def check_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Give `metadata` as a dict of its own; TypeError when it is not from str to str."""
    found: Any = metadata
    if not isinstance(found, Mapping) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in found.items()
    ):
        raise TypeError(f"metadata maps str to str; got {metadata!r}")
    return dict(found)
