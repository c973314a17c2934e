"""What is asked of etcd for a line, as Actions: pure builders, on the hottest road of all.

Every lock that is taken and given back sends two of these. To make them of `Op` and `Compare`, and JSON of those, was
a sixth of what a lock costs this side. So they are written down as text: base64 and numbers need no escaping. A test
holds each against what `requests` makes of the same operations.

Rules of this file
1. Values in, an Action out: no socket, no clock, no thread.
2. Each may be sent twice: why, says the store.
"""

from __future__ import annotations

from etcd_recipes.core.http.action import Action
from etcd_recipes.core.v3.requests import PROBE, REQUIRE_LEADER, base64, shown
from etcd_recipes.core.v3.values import prefix_range, to_bytes

__all__ = ["delete", "join", "join_if_first", "newest_first"]


def join(
    line: str, key: str, value: str, lease: int, *, limit: int, beside: str | None = None
) -> Action:
    """Build the joining: if the key is not there, read who is ahead, put the key, read what is beside.

    They are carried out in this order, so that whom the range finds is ahead, and the own place is not among them.
    (To have the key read when it is there would be a twentieth of the time that each joining takes the server.)
    """
    mine = _text(key)
    also = "" if beside is None else f',{{"request_range":{{"key":"{_text(beside)}"}}}}'
    return _txn(
        f"join line {line!r}",
        f'{{"compare":[{{"target":"CREATE","key":"{mine}","create_revision":"0"}}],'
        f'"success":[{{"request_range":{_newest_first(line, limit)}}},'
        f'{{"request_put":{_put(mine, value, lease)}}}{also}]}}',
    )


def join_if_first(line: str, key: str, value: str, lease: int) -> Action:
    """Build the joining of an empty line: put the key if nothing is below the line, else read what came first."""
    first, end = _below(line)
    return _txn(
        f"join line {line!r} if nobody is there",
        f'{{"compare":[{{"target":"CREATE","key":"{first}","create_revision":"0",'
        f'"range_end":"{end}"}}],"success":[{{"request_put":{_put(_text(key), value, lease)}}}],'
        f'"failure":[{{"request_range":{{"key":"{first}","range_end":"{end}","sort_target":"CREATE",'
        f'"sort_order":"ASCEND","limit":"1"}}}}]}}',
    )


def delete(key: str, created: int) -> Action:
    """Build the deletion of one incarnation of a key."""
    mine = _text(key)
    return _txn(
        f"delete key {key!r}",
        f'{{"compare":[{{"target":"CREATE","key":"{mine}","create_revision":"{created}"}}],'
        f'"success":[{{"request_delete_range":{{"key":"{mine}"}}}}]}}',
    )


def newest_first(line: str, limit: int = 0, up_to: int = 0) -> Action:
    """Build the look at a line: `limit` places, 0 for all, taken at revision `up_to` or before, 0 for all."""
    body = _newest_first(line, limit, up_to)
    what = f"read {shown(*prefix_range(to_bytes(f'{line}/')))}"
    return Action("/v3/kv/range", body.encode(), "POST", True, what, REQUIRE_LEADER, fresh=True)


def _txn(what: str, body: str) -> Action:
    return Action(
        "/v3/kv/txn",
        body.encode(),
        "POST",
        True,
        what,
        REQUIRE_LEADER,
        fresh=True,
        preflight=PROBE,
    )


def _put(key: str, value: str, lease: int) -> str:
    return f'{{"key":"{key}","value":"{base64(to_bytes(value, "value"))}","lease":"{lease}"}}'


def _newest_first(line: str, limit: int, up_to: int = 0) -> str:
    first, end = _below(line)
    most = f',"limit":"{limit}"' if limit else ""
    until = f',"max_create_revision":"{up_to}"' if up_to else ""
    return (
        f'{{"key":"{first}","range_end":"{end}","sort_target":"CREATE","sort_order":"DESCEND"'
        f"{most}{until}}}"
    )


def _below(line: str) -> tuple[str, str]:
    first, end = prefix_range(to_bytes(f"{line}/"))
    return base64(first), base64(end)


def _text(key: str) -> str:
    return base64(to_bytes(key))
