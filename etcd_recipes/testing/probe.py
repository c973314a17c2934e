"""What a member says about itself, asked over its JSON gateway.

Rules of this file
1. An answer or None: a member that is dead, stopped, starting or confused gives None, within `patience`.
2. The keys client is not used: a kit that tests it must not rest on it.
"""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any

from etcd_recipes.testing.command import HOST, Tls

__all__ = ["MemberStatus", "is_healthy", "peer_urls", "status"]


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """What a member knows: its id, the leader's id (0: none) and the term."""

    member: int
    leader: int
    term: int


def is_healthy(port: int, tls: Tls | None = None, patience: float = 1.0) -> bool:
    """Tell whether the member serves requests that need a leader."""
    answer = _ask("GET", port, "/health", tls, patience)
    return answer is not None and answer.get("health") in ("true", True)


def status(port: int, tls: Tls | None = None, patience: float = 1.0) -> MemberStatus | None:
    """Give the member's view of the cluster; it needs no leader."""
    answer = _ask("POST", port, "/v3/maintenance/status", tls, patience)
    if answer is None or not isinstance(header := answer.get("header"), dict):
        return None
    return MemberStatus(
        member=int(header.get("member_id", 0)),
        leader=int(answer.get("leader", 0)),
        term=int(answer.get("raftTerm", 0)),
    )


def peer_urls(port: int, tls: Tls | None = None, patience: float = 1.0) -> frozenset[str]:
    """Give the peer URLs of all members of the cluster behind this port; empty if it does not say."""
    answer = _ask("POST", port, "/v3/cluster/member/list", tls, patience) or {}
    return frozenset(
        url for member in answer.get("members", ()) for url in member.get("peerURLs", ())
    )


def _ask(
    method: str, port: int, path: str, tls: Tls | None, patience: float
) -> dict[str, Any] | None:
    try:
        connection = _connection(port, tls, patience)
    except OSError:
        return None  # a file that is being written
    try:
        connection.request(method, path, body=b"{}" if method == "POST" else None)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return answer if response.status == 200 and isinstance(answer, dict) else None


def _connection(port: int, tls: Tls | None, patience: float) -> http.client.HTTPConnection:
    """Make a connection to the member; it is our own, so its certificate has nothing to prove to us."""
    if tls is None:
        return http.client.HTTPConnection(HOST, port, timeout=patience)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if tls.client_auth:
        context.load_cert_chain(tls.cert, tls.key)
    return http.client.HTTPSConnection(HOST, port, timeout=patience, context=context)
