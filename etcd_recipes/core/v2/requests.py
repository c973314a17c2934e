"""Requests of the v2 API, as Actions: pure builders.

Rules of this file
1. Values in, an Action out: no socket, no clock, no thread. What etcd would understand as something else
   than what was said is a ValueError here; what is not text is a TypeError.
2. A key reaches etcd as itself or not at all. etcd cleans paths as a file system does ("/a//b", "/a/./b"
   and "/x/../a/b" are all "/a/b" to it), so such keys are refused.
3. Query and body are sorted by name, spaces are "+", as the Go client sends them.
4. The replay rule stands beside the request it is about. In short:

   get, watch, listings      replayed: they change nothing
   set, update               replayed: the value that the caller wants is what stays. A copy that arrives
                             late may overwrite a later write; `Response.doubt` says when that may happen
   refresh                   replayed, also when it compares the value: it changes none, so it matches again
   create, create_in_order   not replayed: the second copy finds the first, or stands in line twice
   compare-and-swap          not replayed: the second copy fails because the first succeeded
   delete                    not replayed: the second copy finds nothing, or what somebody made meanwhile
   mkdir                     not replayed: the second copy finds the directory, and etcd calls that an error
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from etcd_recipes.core.http.action import Action

__all__ = [
    "clean_key",
    "create",
    "create_in_order",
    "delete",
    "get",
    "refresh",
    "set_",
    "version",
    "wait",
    "whole_seconds",
]

FORM = {"Content-Type": "application/x-www-form-urlencoded"}

MAX_TTL = 100 * 365 * 86400
"""A hundred years. etcd counts nanoseconds in 64 bits: beyond the year 2262 it forgets the ttl in silence."""

_SAFE = "/-_.~$&+,:;=@"


# -- what goes in ------------------------------------------------------------------------------------------


def clean_key(key: str) -> str:
    """Give `key` with its leading slash; ValueError if etcd would take it for another key."""
    if not isinstance(key, str):
        raise TypeError(f"a key is str, not {type(key).__name__}")
    path = key if key.startswith("/") else f"/{key}"
    if path != "/":
        for segment in path[1:].split("/"):
            if segment in ("", ".", ".."):
                what = f"the segment {segment!r}" if segment else "an empty segment"
                raise ValueError(f"the key {key!r} has {what}: etcd would take it for another key")
    _check_text(path, "key")
    return path


def _path(key: str) -> str:
    return f"/v2/keys{quote(clean_key(key), safe=_SAFE)}"


def _check_text(text: object, what: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"a {what} is str, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"the {what} {text!r} has a lone surrogate, which UTF-8 cannot say"
        ) from None
    return text


def whole_seconds(ttl: float) -> int:
    """Give `ttl` rounded up to whole seconds, as etcd counts; ValueError if it is none that etcd can keep."""
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise TypeError(f"a ttl is a number of seconds, not {type(ttl).__name__}")
    if not 0 < ttl <= MAX_TTL:
        raise ValueError(f"a ttl is more than 0 and at most {MAX_TTL} seconds; got {ttl!r}")
    return math.ceil(ttl)


def _check_index(index: int, what: str, *, least: int) -> int:
    if isinstance(index, bool) or not isinstance(index, int):
        raise TypeError(f"{what} is an int, not {type(index).__name__}")
    if not least <= index < 2**64:
        raise ValueError(f"{what} is {least} or more, and fits in 64 bits; got {index}")
    return index


def _compared(prev_value: str | None, prev_index: int | None) -> dict[str, str]:
    """Give the part of the query that compares; ValueError for what etcd would overlook."""
    query: dict[str, str] = {}
    if prev_value is not None:
        query["prevValue"] = _check_text(prev_value, "prev_value")
        if not prev_value:
            raise ValueError("etcd cannot compare with an empty prev_value; use prev_index")
    if prev_index is not None:
        query["prevIndex"] = str(_check_index(prev_index, "prev_index", least=1))
    return query


def _with(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(sorted(query.items()))}" if query else path


def _keys(
    method: str, key: str, query: Mapping[str, str], form: Mapping[str, str], *, replay: bool
) -> Action:
    return Action(
        _with(_path(key), query),
        urlencode(sorted(form.items())).encode(),
        method=method,
        replay=replay,
        what=f"v2 {method} {clean_key(key)!r}",
        headers={} if method == "GET" else FORM,
        follow=True,
    )


# -- keys ----------------------------------------------------------------------------------------------------


def get(key: str, *, recursive: bool = False, sort: bool = False, quorum: bool = False) -> Action:
    """Build a read."""
    query = {"quorum": _bool(quorum), "recursive": _bool(recursive), "sorted": _bool(sort)}
    return _keys("GET", key, query, {}, replay=True)


def wait(key: str, *, wait_index: int, recursive: bool = False) -> Action:
    """Build one poll of a watch: for the first event at or after `wait_index`; 0 means from now on."""
    index = _check_index(wait_index, "wait_index", least=0)
    query = {"recursive": _bool(recursive), "wait": "true", "waitIndex": str(index)}
    return _keys("GET", key, query, {}, replay=True)


def set_(
    key: str,
    value: str | None,
    *,
    prev_value: str | None = None,
    prev_index: int | None = None,
    prev_exist: bool | None = None,
    ttl: float | None = None,
    dir: bool = False,  # noqa: A002 (the contract's name)
    no_value_on_success: bool = False,
) -> Action:
    """Build a write: set, create (`prev_exist` False), update (True) or compare-and-swap; or a directory."""
    query = _compared(prev_value, prev_index)
    if query and prev_exist is False:
        raise ValueError("etcd overlooks prev_value and prev_index when prev_exist is False")
    if dir and (value or query):
        raise ValueError("a directory has no value, neither to set nor to compare")
    replay = not query and prev_exist is not False and not dir
    form: dict[str, str] = {} if dir else {"value": _check_text(value, "value")}
    if prev_exist is not None:
        query["prevExist"] = _bool(prev_exist)
    if ttl is not None:
        form["ttl"] = str(whole_seconds(ttl))
    if dir:
        query["dir"] = "true"
    if no_value_on_success:
        query["noValueOnSuccess"] = "true"
    return _keys("PUT", key, query, form, replay=replay)


def create(key: str, value: str, *, ttl: float | None = None) -> Action:
    """Build a write that only makes a key."""
    return set_(key, value, prev_exist=False, ttl=ttl)


def refresh(
    key: str,
    *,
    ttl: float | None,
    prev_value: str | None = None,
    prev_index: int | None = None,
    prev_exist: bool | None = None,
    no_value_on_success: bool = False,
) -> Action:
    """Build a new ttl for a key that keeps its value, of which no watcher hears.

    To be replayed unless it compares the index, which every refresh moves on.
    """
    if ttl is None:
        raise ValueError("a refresh needs a ttl")
    if prev_exist is False:
        raise ValueError("a refresh of a key that is not there would make an empty one")
    query = _compared(prev_value, prev_index)
    if prev_exist is not None:
        query["prevExist"] = _bool(prev_exist)
    if no_value_on_success:
        query["noValueOnSuccess"] = "true"
    form = {"refresh": "true", "ttl": str(whole_seconds(ttl)), "value": ""}
    return _keys("PUT", key, query, form, replay=prev_index is None)


def create_in_order(dir: str, value: str, *, ttl: float | None = None) -> Action:  # noqa: A002
    """Build a write of a new key in the directory, whose name is the next index, in 20 digits."""
    form = {"value": _check_text(value, "value")}
    if ttl is not None:
        form["ttl"] = str(whole_seconds(ttl))
    return _keys("POST", dir, {}, form, replay=False)


def delete(
    key: str,
    *,
    prev_value: str | None = None,
    prev_index: int | None = None,
    recursive: bool = False,
    dir: bool = False,  # noqa: A002 (the contract's name)
) -> Action:
    """Build a removal."""
    query = _compared(prev_value, prev_index)
    if query and (recursive or dir):
        raise ValueError(
            "etcd overlooks recursive and dir when it compares: it compares files only"
        )
    if recursive:
        query["recursive"] = "true"
    if dir:
        query["dir"] = "true"
    return _keys("DELETE", key, query, {}, replay=False)


def version() -> Action:
    """Build the question for the server's version."""
    return Action("/version", method="GET", replay=True, what="ask for the version", follow=True)


def _bool(flag: object) -> str:
    return "true" if flag else "false"
