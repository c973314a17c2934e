"""Codecs: how an instance stands in etcd. JSON of our own, the format of Go's gRPC naming, or a user's.

Rules of this file
1. A codec is a value with two pure functions. They may raise: what cannot be read is not an instance, and
   `Codec.read` never raises, whatever somebody else wrote under the prefix.
2. A field of the wrong type has its default; without a usable address there is no instance.
3. gRPC naming: ``{"Op":0,"Addr":...,"Metadata":...}``, in the order in which Go writes it. Go reads Addr,
   ignores Op, and hands Metadata to its balancer, which compares it: an *object* there makes Go clients of
   etcd before 3.5.22 panic ("comparing uncomparable type"). So our own fields stand in Metadata as one
   string of JSON, which can be compared.
4. Go has no word for an instance that drains: it is not written, and Go's clients move on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from etcd_recipes.recipes.registry.instance import Instance, is_weight

__all__ = ["CODECS", "Codec", "codec_of"]


@dataclass(frozen=True, slots=True)
class Codec:
    """How instances stand in etcd; for ``client.registry(name, codec=...)``.

    ``encode(instance)`` gives the value of its key, or None when an instance in this state is not to be
    listed. ``decode(service, id, value)`` gives the instance, or None for what is none; what it raises
    counts as None. Both are pure. `owner` has to travel in the value: a codec that drops it makes healing
    wait until the key of before has expired.

    `ids` "address" names instances that were given no id after their address, and takes any key below
    ``<name>/<service>/`` for one of the service's; "random" draws ids, and leaves deeper keys alone.
    """

    encode: Callable[[Instance], str | None]
    decode: Callable[[str, str, str], Instance | None]
    ids: Literal["random", "address"] = "random"

    def read(self, service: str, id_: str, value: str) -> Instance | None:
        """Give the instance at ``<name>/<service>/<id>``, or None when that is something else."""
        if not id_ or not _is_text(id_) or ("/" in id_ and self.ids == "random"):
            return None
        try:
            found = self.decode(service, id_, value)
        except Exception:  # noqa: BLE001 (nested too deep, or a user's codec: not an instance)
            return None
        return found if isinstance(found, Instance) else None

    def service_at(self, place: str, value: str) -> str | None:
        """Give the service whose instance stands at ``<name>/<place>``, or None if none does."""
        service, _, id_ = place.rpartition("/")
        found = self.read(service, id_, value)
        if found is None or not service or service.endswith("/") or not _is_text(service):
            return None
        if self.ids == "address" and place.endswith(f"/{found.address}"):
            return place.removesuffix(f"/{found.address}").rstrip("/") or None
        return service

    def id_for(self, address: str, fresh: str) -> str:
        """Give the id of an instance that was given none: `fresh`, or its address without slashes."""
        return fresh if self.ids == "random" else quote(address, safe=":[]@,;=+")


def codec_of(codec: str | Codec) -> Codec:
    """Give the codec of that name, or itself; ValueError for a name that there is not."""
    if isinstance(codec, Codec):
        return codec
    if codec not in CODECS:
        raise ValueError(f"codec is {' or '.join(map(repr, CODECS))}, or a Codec; not {codec!r}")
    return CODECS[codec]


# -- our own JSON ------------------------------------------------------------------------------------------


def _to_json(instance: Instance) -> str:
    return _dump({"address": instance.address, **_fields(instance)})


def _from_json(service: str, id_: str, value: str) -> Instance | None:
    data = json.loads(value)
    return _instance(service, id_, data["address"], data)


# -- gRPC naming -------------------------------------------------------------------------------------------


def _to_grpc(instance: Instance) -> str | None:
    if instance.draining:
        return None
    own = _dump(_fields(instance))
    return _dump({"Op": 0, "Addr": instance.address, "Metadata": own})


def _from_grpc(service: str, id_: str, value: str) -> Instance | None:
    data = json.loads(value)
    return _instance(service, id_, data["Addr"], _unfold(data.get("Metadata")))


def _unfold(metadata: Any) -> Mapping[str, Any]:
    """Give the fields in Go's Metadata: null, a string (ours holds JSON), an object or something else.

    What is none of our fields becomes metadata; what is not an object stands under "metadata" there.
    """
    if metadata is None:
        return {}
    try:
        data = json.loads(metadata) if isinstance(metadata, str) else metadata
    except ValueError:
        data = metadata
    if not isinstance(data, dict):
        return {"metadata": {"metadata": metadata}}
    inner = data.get("metadata", {})
    foreign = {key: value for key, value in data.items() if key not in _OWN}
    return data | {
        "metadata": foreign | (inner if isinstance(inner, dict) else {"metadata": inner})
    }


# -- what both have ----------------------------------------------------------------------------------------

_OWN = frozenset({"weight", "zone", "draining", "metadata", "owner"})


def _fields(instance: Instance) -> dict[str, Any]:
    """Give the fields beside the address, those left out that say nothing."""
    data: dict[str, Any] = {"owner": instance.owner}
    if instance.metadata:
        data["metadata"] = dict(instance.metadata)
    if instance.weight != 1:
        data["weight"] = instance.weight
    if instance.zone:
        data["zone"] = instance.zone
    if instance.draining:
        data["draining"] = True
    return data


def _instance(service: str, id_: str, address: Any, data: Mapping[str, Any]) -> Instance | None:
    """Rule 2."""
    if not isinstance(address, str) or not address or not _is_text(address):
        return None
    metadata, weight = data.get("metadata"), data.get("weight")
    return Instance(
        service,
        id_,
        address,
        {_text(k): _text(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {},
        weight if isinstance(weight, int) and is_weight(weight) else 1,
        _string(data.get("zone")),
        data.get("draining") is True,
        _string(data.get("owner")),
    )


def _string(value: Any) -> str:
    return _text(value) if isinstance(value, str) else ""


def _text(value: Any) -> str:
    """Give `value` as text that can be written anywhere: JSON may hold halves of characters."""
    text = value if isinstance(value, str) else _dump(value)
    return text.encode("utf-8", "replace").decode()


def _is_text(value: str) -> bool:
    return value == _text(value)


def _dump(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))


CODECS: Mapping[str, Codec] = {
    "json": Codec(_to_json, _from_json),
    "grpc": Codec(_to_grpc, _from_grpc, ids="address"),
}
