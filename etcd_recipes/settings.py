"""A client's settings in the two forms in which deployments carry them: etcdctl's environment, and one URL.

The environment is read as etcdctl reads it
1. A variable that is empty is not set. Others than those below are left alone.
2. An endpoint without a scheme is https if there is a certificate or an authority, or if
   ETCDCTL_INSECURE_TRANSPORT is false; one with a scheme stays what it is.
3. ETCDCTL_USER is ``name``, or ``name:password`` when the password is given nowhere else.
4. ETCDCTL_DISCOVERY_SRV wins over ETCDCTL_ENDPOINTS.
5. What orchestrators mount as files has a variable of its own: ETCDCTL_USER_FILE, ETCDCTL_PASSWORD_FILE.

Rules of this file
* Texts in, keyword arguments of Client out. Nothing is asked of the network; the only files read are those
  of rule 5.
* Every error is a ValueError that names the variable or the option. No error shows a password, nor a part of
  a URL that could be one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from etcd_recipes.core.http.endpoints import parse_endpoints

__all__ = [
    "ENDPOINTS",
    "FILES",
    "Settings",
    "Srv",
    "from_environment",
    "from_url",
]

ENDPOINTS = "ETCDCTL_ENDPOINTS"
FILES = {"ca": "ETCDCTL_CACERT", "cert": "ETCDCTL_CERT", "key": "ETCDCTL_KEY"}
"""The variable of each file's argument."""

_DEFAULT_ENDPOINT = "127.0.0.1:2379"


@dataclass(frozen=True, slots=True)
class Srv:
    """A domain whose SRV records name the endpoints; with `only_tls` those over http are left out."""

    domain: str
    service: str = ""
    only_tls: bool = False

    def choose(self, found: tuple[str, ...]) -> tuple[str, ...]:
        """Give those of the endpoints that may be used; ValueError if there is none."""
        chosen = tuple(url for url in found if url.startswith("https:") or not self.only_tls)
        if not chosen:
            raise ValueError(
                f"ETCDCTL_INSECURE_DISCOVERY is false, and {self.domain} has no endpoint over TLS"
            )
        return chosen


@dataclass(frozen=True, slots=True)
class Settings:
    """What to make a client of: its keyword arguments, and what takes more than an argument.

    `srv` says where to find the endpoints if they are not among the arguments; `verify` is False when the
    server's certificate is not to be looked at.
    """

    options: dict[str, Any] = field(repr=False)  # a password may be among them
    srv: Srv | None = None
    verify: bool = True


# -- the environment -----------------------------------------------------------------------------------


def from_environment(environ: Mapping[str, str], overrides: Mapping[str, Any]) -> Settings:
    """Give what the environment says and `overrides`, keyword arguments of Client, do not."""
    said = {name: value for name, value in environ.items() if value}
    files = {name: said[variable] for name, variable in FILES.items() if variable in said}
    options: dict[str, Any] = files | dict(overrides)
    options = _user(said, options) | _times(said, overrides) | options
    verify = True
    if _flag(said, "ETCDCTL_INSECURE_SKIP_TLS_VERIFY", default=False):
        verify = bool({"ca", "http"} & overrides.keys())
    secure = bool(FILES.keys() & options.keys())
    secure = secure or not _flag(said, "ETCDCTL_INSECURE_TRANSPORT", default=True)
    if not verify:
        options.pop("ca", None)  # nobody is going to look at it
    if "endpoints" in overrides:
        return Settings(options, verify=verify)
    if "ETCDCTL_DISCOVERY_SRV" in said:
        return Settings(options, _srv(said), verify)
    return Settings(options | {"endpoints": _endpoints(said, secure=secure)}, verify=verify)


def _endpoints(said: Mapping[str, str], *, secure: bool) -> tuple[str, ...]:
    try:
        return parse_endpoints(said.get(ENDPOINTS, _DEFAULT_ENDPOINT), secure=secure)
    except ValueError as error:
        raise ValueError(f"{ENDPOINTS}: {error}") from None


def _srv(said: Mapping[str, str]) -> Srv:
    return Srv(
        said["ETCDCTL_DISCOVERY_SRV"],
        said.get("ETCDCTL_DISCOVERY_SRV_NAME", ""),
        only_tls=not _flag(said, "ETCDCTL_INSECURE_DISCOVERY", default=True),
    )


def _user(said: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, str]:
    """Give the name and the password, unless the name is given otherwise; then they are none of ours."""
    if "username" in given:
        return {}
    user, password = _secret(said, "ETCDCTL_USER"), _secret(said, "ETCDCTL_PASSWORD")
    if user is None:
        if password is not None:
            raise ValueError("ETCDCTL_PASSWORD is set, and ETCDCTL_USER is not")
        return {}
    if password is None and "password" not in given:
        user, colon, password = user.partition(":")
        if not colon:
            raise ValueError(
                "ETCDCTL_USER has no password: set ETCDCTL_PASSWORD or ETCDCTL_PASSWORD_FILE, "
                "or write it as name:password"
            )
    return {"username": user, "password": password or ""}


def _secret(said: Mapping[str, str], variable: str) -> str | None:
    by_file = f"{variable}_FILE"
    if by_file not in said:
        return said.get(variable)
    if variable in said:
        raise ValueError(f"{variable} and {by_file} are both set: which of them counts?")
    try:
        with Path(said[by_file]).open("rb") as file:
            text = file.read(_LARGEST + 1).decode()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise ValueError(f"{by_file}={said[by_file]!r} cannot be read: {why}") from None
    if len(text) > _LARGEST:
        raise ValueError(f"{by_file}={said[by_file]!r} is more than {_LARGEST} bytes: not a secret")
    return text.removesuffix("\n").removesuffix("\r")


_LARGEST = 65536
"""Bytes of a file with a secret: /dev/zero has no end."""


def _times(said: Mapping[str, str], overrides: Mapping[str, Any]) -> dict[str, float | None]:
    """Give the times; in Go's dialler 0 is no limit."""
    times: dict[str, float | None] = {}
    if "ETCDCTL_DIAL_TIMEOUT" in said and "header_timeout" not in overrides:
        times["header_timeout"] = _duration(said, "ETCDCTL_DIAL_TIMEOUT") or None
    if "ETCDCTL_COMMAND_TIMEOUT" in said and "default_timeout" not in overrides:
        times["default_timeout"] = _duration(said, "ETCDCTL_COMMAND_TIMEOUT")
    return times


_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)


def _duration(said: Mapping[str, str], variable: str) -> float:
    """Give the seconds of a duration as Go writes it, such as 1m30s."""
    text = said[variable].removeprefix("+")
    if text == "0":
        return 0.0
    # A search in a long row of digits would take the square of its length.
    parts = _PART.findall(text) if len(text) <= _LONGEST_TEXT else []
    if not parts or _PART.sub("", text):
        shown = said[variable][:_LONGEST_TEXT]
        raise ValueError(f"{variable}={shown!r} is not a duration such as 5s, 1m30s or 500ms")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not seconds <= _LONGEST:
        raise ValueError(f"{variable} is longer than any time that Go can tell, 292 years")
    return seconds


_LONGEST = 2**63 * 1e-9
_LONGEST_TEXT = 200


_FLAGS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


def _flag(said: Mapping[str, str], variable: str, *, default: bool) -> bool:
    text = said.get(variable)
    if text is None:
        return default
    if text not in _FLAGS:
        raise ValueError(f"{variable}={text!r} is neither true nor false")
    return _FLAGS[text]


# -- the URL -------------------------------------------------------------------------------------------


def from_url(url: str) -> dict[str, Any]:
    """Give the keyword arguments of Client for ``etcd[s]://user:password@host:port,host/namespace?option=value``."""
    scheme, found, rest = url.partition("://")
    if not found or scheme.lower() not in ("etcd", "etcds"):
        raise ValueError("a client's URL begins with etcd://, or with etcds:// for TLS")
    place, path, query = _cut(rest)
    user, at, hosts = place.rpartition("@")
    options = _query(query)
    tls = scheme.lower() == "etcds"
    for name in FILES:
        if name in options and not tls:
            raise ValueError(f"option {name!r} is of no use without TLS: write etcds://")
    if at:
        options |= _userinfo(user)
    if path:
        namespace = _decoded(path, "namespace")
        options["namespace"] = namespace if namespace.endswith("/") else f"{namespace}/"
    options["endpoints"] = tuple(_host(host, tls=tls) for host in hosts.split(","))
    return options


def _cut(rest: str) -> tuple[str, str, str]:
    """Give the user and hosts, the path without its first slash, and the query."""
    if "#" in rest:
        raise ValueError("a '#' in a client's URL is written %23")
    before, _, query = rest.partition("?")
    place, _, path = before.partition("/")
    if "@" in path or "@" in query:
        raise ValueError(
            "in the user, the password and the namespace of a client's URL, '/' is written %2F, "
            "'?' is %3F and '@' is %40"
        )
    return place, path, query


def _userinfo(text: str) -> dict[str, str]:
    name, colon, password = text.partition(":")
    if not name:
        raise ValueError("the URL has an '@', but no user before it")
    if not colon:
        return {"username": _decoded(name, "user")}
    return {"username": _decoded(name, "user"), "password": _decoded(password, "password")}


def _host(text: str, *, tls: bool) -> str:
    if not text.strip():
        raise ValueError("the URL has an empty host; expected for example etcd://h1:2379,h2:2379")
    try:
        (url,) = parse_endpoints(text)
    except ValueError:
        # What looks like a port may be a password whose '@' was forgotten.
        shown = text.rpartition("]")[0] + "]" if "]" in text else text.partition(":")[0]
        raise ValueError(
            f"the URL's host {shown!r} or its port is not valid; expected for example h1:2379 "
            "or [::1]:2379"
        ) from None
    return url.replace("http:", "https:", 1) if tls else url


def _query(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name not in _OPTIONS:
            raise ValueError(f"no option {name!r}; there are {', '.join(_OPTIONS)}")
        argument, read = _OPTIONS[name]
        if argument in options:
            raise ValueError(f"option {name!r} is there twice")
        options[argument] = read(name, _decoded(value, name))
    return options


def _text(name: str, value: str) -> str:
    if not value:
        raise ValueError(f"option {name!r} is empty")
    return value


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"option {name!r} is a number of seconds, 0 or more; got {value!r}")
    return seconds


_OPTIONS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "timeout": ("default_timeout", _seconds),
    "header_timeout": ("header_timeout", _seconds),
    "ttl": ("session_ttl", _seconds),
    "api": ("api", _text),
    "ca": ("ca", _text),
    "cert": ("cert", _text),
    "key": ("key", _text),
    "selection": ("selection", _text),
}


def _decoded(text: str, what: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(f"the {what} in the URL is not UTF-8 when its % signs are read") from None
