"""A request as a curl command, for the debug log. Pure.

Rules of this file
1. No secret is shown: neither what authenticates the client, nor the body of an Action that says so, nor
   anything in a body that is called a password.
2. What is shown can be pasted into a shell, whatever bytes stand in it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from etcd_recipes.core.http.action import Action

__all__ = ["command"]

_HIDDEN = "***"
_PASSWORD = re.compile(r'("[^"]*(?:password|token)[^"]*"\s*:\s*)"(?:[^"\\]|\\.)*"', re.IGNORECASE)
_SHOWN_HEADERS = ("accept", "content-type", "grpc-metadata-hasleader")
_LONGEST = 4096


def command(endpoint: str, action: Action, headers: Mapping[str, str]) -> str:
    """Give the command that would send the same."""
    words = ["curl", "-X", action.method, endpoint + action.path]
    for name, value in headers.items():
        if name.lower() != "user-agent":
            shown = value if name.lower() in _SHOWN_HEADERS else _HIDDEN
            words += ["-H", f"{name}: {shown}"]
    if action.body:
        words += ["--data-binary", _HIDDEN if action.secret else _body(action.body)]
    return shlex.join(words)


def _body(body: bytes) -> str:
    text = _PASSWORD.sub(rf'\1"{_HIDDEN}"', body.decode("utf-8", "backslashreplace"))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(body)} bytes)"
