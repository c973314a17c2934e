"""The doctor's questions to one endpoint: name, port, certificate, server, clock.

The algorithm
1. Look up the name. 2. Connect to each of its addresses. 3. Over TLS: shake hands as the client would, and look
at the certificate. 4. Ask for ``/version``: who answers, how fast, and what its clock says.
What fails ends the questions to this endpoint: the ones behind it could only fail, too.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from etcd_recipes.cli.options import Connection
from etcd_recipes.cli.view.bugs import bugs_of, parse
from etcd_recipes.cli.view.findings import Finding, ask
from etcd_recipes.core import runtime
from etcd_recipes.core.http.tls import load

__all__ = ["examine", "judge_certificate", "judge_clock", "judge_version"]

_LIMIT = 3.0
_SOON = 21.0
"""Days before its end at which a certificate is worth a warning."""

_SKEW = 5.0
_SLOW = 0.5
"""Seconds after which an answer is called slow."""


def examine(endpoint: str, connection: Connection) -> tuple[Finding, ...]:
    """Ask one endpoint all there is to ask it; at most about 12 seconds."""
    place = _Place.of(endpoint, connection)
    questions: list[tuple[str, Callable[[], Sequence[Finding]]]] = [
        ("dns", place.look_up),
        ("tcp", place.connect),
        ("server", place.greet),
    ]
    if place.secure:
        questions.insert(2, ("tls", place.shake_hands))
    found: list[Finding] = []
    for what, question in questions:
        found += ask(f"{what} {endpoint}", question, _LIMIT)
        if found[-1].level == "BROKEN":
            break
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Place:
    endpoint: str
    host: str
    port: int
    secure: bool
    connection: Connection

    @classmethod
    def of(cls, endpoint: str, connection: Connection) -> _Place:
        parts = urlsplit(endpoint)
        secure = parts.scheme == "https"
        return cls(endpoint, parts.hostname or "", parts.port or 2379, secure, connection)

    def look_up(self) -> list[Finding]:
        """The addresses of the name."""
        what = f"dns {self.endpoint}"
        try:
            addresses = self._addresses()
        except socket.gaierror as error:
            why = error.strerror or "it is not known"
            return [
                Finding(what, f"{self.host}: {why}", "BROKEN", "check the name and the resolver")
            ]
        return [Finding(what, ", ".join(addresses))]

    def _addresses(self) -> list[str]:
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(place[4][0]) for place in found))

    def connect(self) -> list[Finding]:
        """Each address, for itself: one that is dead costs every connection a moment."""
        what, dead, took = f"tcp {self.endpoint}", [], 0.0
        addresses = self._addresses()
        for address in addresses:
            began = runtime.now()
            try:
                socket.create_connection(
                    (address, self.port), timeout=_LIMIT / len(addresses)
                ).close()
                took = runtime.now() - began
            except OSError as error:
                dead.append(f"{address}: {error.strerror or error}")
        if len(dead) == len(addresses):
            return [Finding(what, "; ".join(dead), "BROKEN", "is etcd running there? a firewall?")]
        if dead:
            return [Finding(what, "; ".join(dead), "WARN", "the name has an address that is dead")]
        return [Finding(what, f"connected in {took * 1000:.0f} ms")]

    def _context(self, *, verified: bool) -> ssl.SSLContext:
        """Give the context of the client's own files; `verified` by what the system trusts if there is no CA."""
        c = self.connection
        if verified and (c.ca is None or not c.verify):
            context = ssl.create_default_context()
            if c.cert:
                context.load_cert_chain(c.cert, c.key)
            return context
        return load(c.ca if c.verify else None, c.cert, c.key)

    def shake_hands(self) -> list[Finding]:
        """The certificate: until when, and whether it is this server's."""
        what = f"tls {self.endpoint}"
        trusts = self.connection.ca is not None and self.connection.verify
        try:
            certificate = self._certificate()
        except ssl.SSLCertVerificationError as error:
            if not trusts:
                return [
                    Finding(
                        what,
                        "the server is not verified",
                        "WARN",
                        "say who signed it: --cacert FILE",
                    )
                ]
            return [_bad_certificate(what, error)]
        except ssl.SSLError as error:
            why = error.reason or str(error)
            return [
                Finding(
                    what,
                    why,
                    "BROKEN",
                    "does it want a client certificate (--cert, --key)? is it https at all?",
                )
            ]
        finding = judge_certificate(
            what, str(certificate.get("notAfter", "")), runtime.wall_clock()
        )
        if finding.level == "ok" and not trusts:
            return [
                Finding(
                    what,
                    f"{finding.result}, by the system's trust",
                    "WARN",
                    "our client verifies with --cacert only",
                )
            ]
        return [finding]

    def _certificate(self) -> dict[str, object]:
        context = self._context(verified=True)
        with (
            socket.create_connection((self.host, self.port), timeout=_LIMIT) as raw,
            context.wrap_socket(raw, server_hostname=self.host) as sock,
        ):
            return dict(sock.getpeercert() or {})

    def greet(self) -> list[Finding]:
        """``GET /version``: is it etcd, which one, and what time is it there."""
        began, wall = runtime.now(), runtime.wall_clock()
        connection = self._http()
        try:
            connection.request("GET", "/version", headers={"Connection": "close"})
            response = connection.getresponse()
            body, date = response.read(65536), response.getheader("Date", "")
        except http.client.HTTPException as error:
            return [
                Finding(
                    f"server {self.endpoint}",
                    f"no HTTP: {type(error).__name__}",
                    "BROKEN",
                    _GATEWAY,
                )
            ]
        finally:
            connection.close()
        took = runtime.now() - began
        version = _version_in(body) if response.status == 200 else ""
        if not version:
            said = f"HTTP status {response.status}, and no etcd"
            return [Finding(f"server {self.endpoint}", said, "BROKEN", _GATEWAY)]
        return [
            *judge_version(f"server {self.endpoint}", version, took),
            judge_clock(f"clock {self.endpoint}", date, wall),
        ]

    def _http(self) -> http.client.HTTPConnection:
        if self.secure:
            context = self._context(verified=False)
            return http.client.HTTPSConnection(
                self.host, self.port, timeout=_LIMIT, context=context
            )
        return http.client.HTTPConnection(self.host, self.port, timeout=_LIMIT)


_GATEWAY = (
    "is that etcd's client port (2379)? with --listen-client-http-urls HTTP is on a port of its own"
)


def _bad_certificate(what: str, error: ssl.SSLCertVerificationError) -> Finding:
    remedy = "is --cacert the authority that signed it?"
    if "expired" in error.verify_message:
        remedy = "renew the server's certificate"
    elif "ismatch" in error.verify_message or "not valid for" in error.verify_message:
        remedy = "use a name that is in the certificate, or add this one to it"
    return Finding(what, error.verify_message or str(error), "BROKEN", remedy)


def _version_in(body: bytes) -> str:
    try:
        return str(json.loads(body)["etcdserver"])
    except (ValueError, TypeError, KeyError):
        return ""


# -- pure ------------------------------------------------------------------------------------------------


def judge_certificate(what: str, not_after: str, now: float) -> Finding:
    """Judge by how many days are left."""
    try:
        days = (ssl.cert_time_to_seconds(not_after) - now) / 86400
    except ValueError:
        return Finding(
            what, "the certificate does not say until when it is valid", "WARN", "look at it"
        )
    result = f"certificate valid for {days:.0f} days more"
    if days <= 0:
        return Finding(what, f"certificate expired {-days:.0f} days ago", "BROKEN", "renew it")
    return Finding(what, result, "WARN", "renew it soon") if days < _SOON else Finding(what, result)


def judge_version(what: str, version: str, took: float) -> list[Finding]:
    """Judge by the known bugs, one finding each, and by the time that the answer took."""
    parsed = parse(version)
    speed = f"etcd {version}, answered in {took * 1000:.0f} ms"
    found = [
        Finding(what, speed, "WARN", "a slow network, disk or server")
        if took > _SLOW
        else Finding(what, speed)
    ]
    if parsed is not None and parsed < (3, 4, 0):
        found.append(
            Finding(what, "older than 3.4: leases and watches lack much", "WARN", "upgrade")
        )
    for bug in bugs_of(version):
        remedy = f"upgrade to {bug.remedy(parsed or (0, 0, 0))} or later"
        found.append(Finding("version", f"etcd {version}: {bug.what}", "WARN", remedy))
    return found


def judge_clock(what: str, date: str, ours: float) -> Finding:
    """Judge the server's clock, which tells whole seconds, by ours."""
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return Finding(what, "the server does not tell its time", "ok")
    skew = theirs + 0.5 - ours
    if abs(skew) < _SKEW:
        return Finding(what, "the same as here, within a few seconds")
    word = "ahead of" if skew > 0 else "behind"
    return Finding(
        what,
        f"{abs(skew):.0f} s {word} ours",
        "WARN",
        "leases do not mind; ages in `locks`, certificates and tokens do: run an NTP client",
    )
