"""SRV discovery: the endpoints of a cluster from its domain's DNS. Needs dnspython: ``etcd-recipes[srv]``.

The steps
1. Ask for ``_etcd-client-ssl._tcp.<domain>`` (https) and ``_etcd-client._tcp.<domain>`` (http); with a
   service name, for ``_etcd-client-ssl-<service>._tcp`` and ``_etcd-client-<service>._tcp``.
2. Those with TLS come first; within each answer the lowest priority, and among equals by lot, weighted,
   as RFC 2782 has it.
3. One of the two answers is enough; without any, there is an error that names both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context, limit
from etcd_recipes.core.errors import ClusterError, EndpointError, MissingDependency

if TYPE_CHECKING:
    import dns.resolver

__all__ = ["discover"]

_TIMEOUT = 10.0


def discover(
    domain: str,
    *,
    service: str = "",
    timeout: float | None = None,
    ctx: Context | None = None,
    resolver: dns.resolver.Resolver | None = None,
) -> tuple[str, ...]:
    """Give the endpoints that the domain's SRV records name, for ``Client(discover("example.com"))``.

    `timeout` is in seconds (10 if neither it nor `ctx` is given); `resolver` is a dnspython resolver of
    your own. Raises ClusterError when there are no such records, with one error per name that was asked
    for, the Context's error, and MissingDependency when dnspython is not installed.
    """
    if not domain.strip("."):
        raise ValueError(f"{domain!r} is not a domain")
    call = limit(timeout, ctx, default=_TIMEOUT)
    call.check()
    found: list[str] = []
    errors: list[EndpointError] = []
    suffix = f"-{service}" if service else ""
    for scheme, kind in (("https", "etcd-client-ssl"), ("http", "etcd-client")):
        name = f"_{kind}{suffix}._tcp.{domain}"
        outcome = _ask(name, call, resolver)
        if isinstance(outcome, EndpointError):
            errors.append(outcome)
        else:
            found += [f"{scheme}://{place}" for place in outcome]
    if not found:
        raise ClusterError(errors, what=f"find the etcd of {domain}")
    return tuple(dict.fromkeys(found))


def _ask(
    name: str, call: Context, resolver: dns.resolver.Resolver | None
) -> list[str] | EndpointError:
    """Look up one name, on a thread: a lookup cannot be ended from outside, but waiting for it can."""
    try:
        import dns.exception
        import dns.resolver
    except ImportError as error:
        raise MissingDependency(
            "finding etcd by DNS needs dnspython: pip install 'etcd-recipes[srv]'"
        ) from error
    done = runtime.new_event()
    outcome: list[list[str] | EndpointError] = []

    def look_up() -> None:
        try:
            asked = resolver or dns.resolver.Resolver()
            answer = asked.resolve(name, "SRV", lifetime=call.remaining() or _TIMEOUT, search=False)
            records = answer.rrset.processing_order() if answer.rrset is not None else []
            outcome.append([place for record in records if (place := _place(record))])
        except (dns.exception.DNSException, OSError, ValueError) as error:
            outcome.append(EndpointError(name, str(error) or type(error).__name__))
        finally:
            done.set()

    runtime.spawn(look_up, "etcd-recipes srv")
    call.wait_for(done)
    call.check()
    return outcome[0]


_HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def _place(record: object) -> str | None:
    """Give ``host:port``, without the dot at the end of the name, which no certificate has.

    None for what is no host: "." says that there is no such service (RFC 2782).
    """
    host = str(record.target).rstrip(".")  # type: ignore[attr-defined]
    return f"{host}:{record.port}" if _HOST.fullmatch(host) else None  # type: ignore[attr-defined]
