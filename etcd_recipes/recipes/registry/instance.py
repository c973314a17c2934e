"""Instances: what a registered service says about itself, and how it stands in etcd.

Rules of this file
1. Values and pure functions.
2. What somebody else wrote under the prefix never is an error: it is not an instance, and skipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from etcd_recipes.core.store import Entry

__all__ = ["Instance", "decode", "encode", "instance_key"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One registered instance of a service.

    `id` is unique within the service, `address` whatever its clients connect to. `weight` is its share of
    the work (``pick("weighted")``), `zone` where it is (``pick("zone")``). A `draining` instance finishes
    what it has and wants no new work. `metadata` is its own, from str to str.
    """

    service: str
    id: str
    address: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    weight: int = 1
    zone: str = ""
    draining: bool = False


def instance_key(prefix: str, service: str, id_: str) -> str:
    """Give the key of an instance: ``<prefix>/<service>/<id>``."""
    return f"{prefix}/{service}/{id_}"


def encode(instance: Instance, owner: str) -> str:
    """Give the value of an instance; `owner` tells one registration from another of the same id."""
    data: dict[str, Any] = {"address": instance.address, "owner": owner}
    if instance.metadata:
        data["metadata"] = dict(instance.metadata)
    if instance.weight != 1:
        data["weight"] = instance.weight
    if instance.zone:
        data["zone"] = instance.zone
    if instance.draining:
        data["draining"] = True
    return json.dumps(data, separators=(",", ":"), sort_keys=True)


def decode(prefix: str, entry: Entry) -> Instance | None:
    """Give the instance that an entry is, or None when it is something else."""
    parts = entry.key[len(prefix) + 1 :].rsplit("/", 1)
    if not entry.key.startswith(prefix + "/") or len(parts) != 2 or not all(parts):
        return None
    data = _object(entry.value)
    address = data.get("address")
    if not isinstance(address, str):
        return None
    metadata = data.get("metadata", {})
    weight = data.get("weight", 1)
    return Instance(
        service=parts[0],
        id=parts[1],
        address=address,
        metadata={str(k): str(v) for k, v in metadata.items()}
        if isinstance(metadata, dict)
        else {},
        weight=weight if isinstance(weight, int) and weight >= 0 else 1,
        zone=str(data.get("zone", "")),
        draining=data.get("draining") is True,
    )


def owner_of(entry: Entry) -> str:
    """Give the owner that an entry names, "" when it names none."""
    return str(_object(entry.value).get("owner", ""))


def _object(text: str) -> Mapping[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
