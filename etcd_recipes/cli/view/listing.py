"""The instances of a service in the formats of others: environment, hosts file, Prometheus.

Rules of this file
1. Pure: instances in, text or a document out. Whatever an instance says of itself, it stays one value: it
   is quoted for the shell, and cannot make a line of its own.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from etcd_recipes.cli.view.output import safe
from etcd_recipes.cli.view.table import Row
from etcd_recipes.recipes.registry.instance import Instance

__all__ = ["COLUMNS", "as_env", "as_hosts", "as_prometheus", "document", "rows"]

COLUMNS = ("ID", "ADDRESS", "STATE", "WEIGHT", "ZONE", "METADATA")


def rows(instances: Iterable[Instance]) -> list[Row]:
    """Give one row for each instance."""
    return [Row(cells(each), "dim" if each.draining else "") for each in instances]


def cells(instance: Instance) -> tuple[str, ...]:
    """Give what a line says of an instance."""
    metadata = " ".join(f"{safe(k)}={safe(v)}" for k, v in sorted(instance.metadata.items()))
    state = "draining" if instance.draining else "ready"
    zone = safe(instance.zone) or "-"
    address = safe(instance.address)
    return safe(instance.id), address, state, str(instance.weight), zone, metadata or "-"


def document(instance: Instance) -> dict[str, Any]:
    """Give an instance as ``-o json`` has it."""
    return {
        "service": instance.service,
        "id": instance.id,
        "address": instance.address,
        "weight": instance.weight,
        "zone": instance.zone,
        "draining": instance.draining,
        "metadata": dict(instance.metadata),
    }


def as_env(service: str, instances: Sequence[Instance]) -> list[str]:
    """Give lines for ``eval``: SERVICE_ADDRESSES with all, SERVICE_1_ADDRESS ... with each."""
    name = re.sub(r"[^A-Z0-9]", "_", service.upper())
    name = f"_{name}" if name[:1].isdigit() else name
    addresses = [instance.address for instance in instances]
    lines = [
        f"{name}_COUNT={len(addresses)}",
        f"{name}_ADDRESSES={shlex.quote(','.join(addresses))}",
    ]
    return lines + [f"{name}_{n}_ADDRESS={shlex.quote(a)}" for n, a in enumerate(addresses, 1)]


def as_hosts(service: str, instances: Sequence[Instance]) -> list[str]:
    """Give lines for a hosts file; an address that is no IP address is told as a comment."""
    lines = {_host_line(service, instance.address): None for instance in instances}
    return list(lines)


def _host_line(service: str, address: str) -> str:
    try:
        host = str(ipaddress.ip_address(_host(address)))
    except ValueError:
        host = ""
    if not _IP.fullmatch(host):
        return f"# {safe(address)} is no IP address"
    return f"{host}\t{re.sub(r'[^A-Za-z0-9.-]', '-', service)}"


_IP = re.compile(r"[0-9a-f.:]+(%[A-Za-z0-9_.-]+)?")  # the zone may be any text for `ipaddress`


def _host(address: str) -> str:
    place = address.rpartition("://")[2].partition("/")[0]
    if place.startswith("["):
        return place[1:].partition("]")[0]
    return place if place.count(":") > 1 else place.partition(":")[0]


def as_prometheus(instances: Sequence[Instance]) -> list[dict[str, Any]]:
    """Give what Prometheus' ``file_sd_configs`` and ``http_sd_configs`` read."""
    return [
        {
            "targets": [instance.address.rpartition("://")[2].partition("/")[0]],
            "labels": {
                "service": instance.service,
                "instance_id": instance.id,
                **({"zone": instance.zone} if instance.zone else {}),
                **{
                    f"__meta_etcd_recipes_{re.sub(r'[^a-zA-Z0-9_]', '_', key)}": value
                    for key, value in instance.metadata.items()
                },
            },
        }
        for instance in instances
    ]
