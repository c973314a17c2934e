"""Redirects: where one leads, and whether the way there may be told secrets. Pure.

Rules of this file
1. A Location is resolved against the URL that gave it; its query replaces the old one, and a fragment is
   for people. What is not an http or https URL, or would not fit into one line, leads nowhere. Nor does
   what leads from https to http: what was to be kept from others would be told to all.
2. Credentials go to the client's own endpoints, by scheme, host and port, and to nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urljoin, urlsplit

__all__ = ["MAX_REDIRECTS", "is_own", "target"]

MAX_REDIRECTS = 10
"""How many are followed for one answer; a loop ends there."""

_ONE_LINE = re.compile(r"[!-~]+")
_USERINFO = re.compile(r"//[^/?#]*@")
_PORTS = {"http": 80, "https": 443}


def target(endpoint: str, path: str, location: str | None) -> tuple[str, str]:
    """Give the endpoint and the path that `location` leads to; ValueError, saying why, if nowhere."""
    if not location:
        raise ValueError("a redirect that does not say where to")
    if _ONE_LINE.fullmatch(location) is None:
        raise ValueError(f"a redirect to {_shown(location)}, which is not a URL")
    try:
        url = urlsplit(urljoin(endpoint + path, location))
        _ = url.port
    except ValueError as error:
        raise ValueError(
            f"a redirect to {_shown(location)}, which is not a URL ({error})"
        ) from None
    if url.scheme not in _PORTS or not url.hostname or "@" in url.netloc:
        raise ValueError(
            f"a redirect to {_shown(location)}, which is not a plain http or https URL"
        )
    if url.scheme == "http" and endpoint.startswith("https:"):
        raise ValueError(
            f"a redirect from https to {_shown(location)}, which is no secret to anybody"
        )
    query = f"?{url.query}" if url.query else ""
    return f"{url.scheme}://{url.netloc}", f"{url.path or '/'}{query}"


def _shown(location: str) -> str:
    """Give how it begins, without a user and a password that may stand in it."""
    return repr(_USERINFO.sub("//***@", location)[:80])


def is_own(endpoint: str, endpoints: Iterable[str]) -> bool:
    """Tell whether `endpoint` shares the origin of one of `endpoints`."""
    return _origin(urlsplit(endpoint)) in {_origin(urlsplit(each)) for each in endpoints}


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)
