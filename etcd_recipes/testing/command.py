"""The command line of one member: pure, from options, a seat and the server's version.

Rules of this file
1. A flag is given only to a server that knows it: 3.4 to 3.6 all start.
2. Everything listens on the loopback interface only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Options", "Seat", "Tls", "arguments", "environment"]

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Tls:
    """The files by which a server speaks TLS to its clients: its certificate and key, and an authority.

    With `client_auth` a client must show a certificate that the authority `ca` has signed. The server
    shows its own when it talks to itself, as its JSON gateway does: then that must be good for clients,
    too. It reads `cert` and `key` at each handshake, and `ca` when it starts.
    """

    ca: str | os.PathLike[str]
    cert: str | os.PathLike[str]
    key: str | os.PathLike[str]
    client_auth: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How a member runs; `heartbeat` and `election_timeout` are milliseconds."""

    memory: bool = True
    heartbeat: int = 100
    election_timeout: int = 1000
    enable_v2: bool = False
    extra_args: tuple[str, ...] = ()
    binary: Path | None = None
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class Seat:
    """A member's place: its name, its ports and who else is in the cluster (name, peer port)."""

    name: str
    client_port: int
    peer_port: int
    cluster: tuple[tuple[str, int], ...]
    token: str
    scheme: str = "http"

    @property
    def endpoint(self) -> str:
        """The URL for clients."""
        return _url(self.client_port, self.scheme)

    @property
    def peer_url(self) -> str:
        """The URL for other members."""
        return _url(self.peer_port)


def arguments(options: Options, seat: Seat, data: Path, version: tuple[int, int, int]) -> list[str]:
    """Give the flags; ValueError if the server of that version cannot do what the options ask."""
    flags = {
        "name": seat.name,
        "data-dir": str(data),
        "listen-client-urls": seat.endpoint,
        "advertise-client-urls": seat.endpoint,
        "listen-peer-urls": seat.peer_url,
        "initial-advertise-peer-urls": seat.peer_url,
        "initial-cluster": ",".join(f"{name}={_url(port)}" for name, port in seat.cluster),
        "initial-cluster-state": "new",
        "initial-cluster-token": seat.token,
        "heartbeat-interval": str(options.heartbeat),
        "election-timeout": str(options.election_timeout),
        "logger": "zap",
        "log-level": "warn",
    }
    if options.tls is not None:
        flags |= _tls_flags(options.tls)
    switches = ["--unsafe-no-fsync"] if version >= (3, 5, 0) else []
    if options.enable_v2:
        if version >= (3, 6, 0):
            raise ValueError(f"etcd {'.'.join(map(str, version))} has no v2 API; use 3.4 or 3.5")
        switches.append("--enable-v2")
    return [
        *(f"--{name}={value}" for name, value in flags.items()),
        *switches,
        *options.extra_args,
    ]


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Give the server's environment: no ETCD_* variable, for etcd would take it for a setting."""
    keep = "ETCD_UNSUPPORTED_ARCH"
    return {
        name: value
        for name, value in inherited.items()
        if name == keep or not name.startswith("ETCD_")
    }


def _tls_flags(tls: Tls) -> dict[str, str]:
    files = {"cert-file": tls.cert, "key-file": tls.key}
    if tls.client_auth:
        files["trusted-ca-file"] = tls.ca  # given at all, etcd wants certificates of its clients
    # Whole paths, for the server runs in a folder of its own.
    flags = {name: str(Path(file).absolute()) for name, file in files.items()}
    return flags | ({"client-cert-auth": "true"} if tls.client_auth else {})


def _url(port: int, scheme: str = "http") -> str:
    return f"{scheme}://{HOST}:{port}"
