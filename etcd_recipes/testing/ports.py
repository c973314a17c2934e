"""Free ports on the loopback interface.

Rules of this file
1. A port is only seen to be free, never reserved: whoever starts a server on it must be ready to find
   it taken, and to come back for another.
2. Ports come from below the range in which systems choose ports for outgoing connections. A member that
   is killed must find its port free when it returns, whatever connections were made meanwhile.
"""

from __future__ import annotations

import random
import socket

from etcd_recipes.testing.command import HOST

__all__ = ["free_ports"]

_RANGE = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Give `count` different ports that nobody listens on at the moment; OSError if there are not so many."""
    free: list[int] = []
    # Not the runtime's seeded generator: two simulations with one seed must not want the same ports.
    for port in random.SystemRandom().sample(_RANGE, len(_RANGE)):
        if len(free) == count:
            return free
        if _is_free(port):
            free.append(port)
    raise OSError(f"no {count} free ports between {_RANGE.start} and {_RANGE.stop} on {HOST}")


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as etcd does
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
        return True
