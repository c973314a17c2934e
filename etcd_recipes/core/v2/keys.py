"""``client.v2.keys``: every request about keys, and the watcher.

The requests are those of etcd's v2 API (https://etcd.io/docs/v2.3/api/), encoded as Go's client encodes
them; where this differs from Go, `docs/reference/v2-differences.md` says so. Besides the errors that a
method names, each raises

* the Context's error when `timeout` (seconds) or `ctx` ends it, whatever else went wrong on the way;
* ClusterError when no endpoint gave an answer, with `maybe_applied` when a write may have been carried out;
* InvalidResponse or EmptyResponse when what answered does not speak v2;
* NotADirectory when a part of the key is a file, NotAuthorized when the user may not, EtcdError for the
  rest of etcd's own errors;
* ValueError for a key that etcd would take for another one, TypeError for what is not ``str``.

A key is written with or without its leading slash.
"""

from __future__ import annotations

import weakref
from functools import partial

from etcd_recipes.core.context import Context
from etcd_recipes.core.v2 import replies, requests
from etcd_recipes.core.v2.service import Service
from etcd_recipes.core.v2.values import Response
from etcd_recipes.core.v2.watcher import Watcher

__all__ = ["Keys"]


class Keys:
    """See the module's docstring."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()

    def get(
        self,
        key: str,
        *,
        recursive: bool = False,
        sort: bool = False,
        quorum: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Response:
        """Give the key, or the directory with its children; KeyNotFound if there is none.

        GET /v2/keys/<key>?quorum=&recursive=&sorted=. With `recursive` the whole tree below, with `sort`
        in the order of the keys; children whose name begins with "_" are not listed. Without `quorum` the
        member answers from what it has, which on a member that is cut off is old; with it, the answer is
        what the cluster has agreed on.
        """
        action = requests.get(key, recursive=recursive, sort=sort, quorum=quorum)
        return replies.response(self._service.call(action, self._service.limit(timeout, ctx)))

    def set(
        self,
        key: str,
        value: str | None = None,
        *,
        prev_value: str | None = None,
        prev_index: int | None = None,
        prev_exist: bool | None = None,
        ttl: float | None = None,
        refresh: bool = False,
        dir: bool = False,  # noqa: A002 (the contract's name)
        no_value_on_success: bool = False,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Response:
        """Write the key, if the conditions hold; otherwise change nothing and raise CompareFailed,
        KeyExists (`prev_exist` False) or KeyNotFound (`prev_exist` True, or any comparison).

        PUT /v2/keys/<key>. Without `ttl` (seconds, rounded up) the key stays for ever, also when it had
        one before. `refresh` gives the key a new ttl and nothing else: no value, no event. `dir` makes a
        directory; NotAFile if there is one. `no_value_on_success` leaves `node` out of the answer.

        Without comparison it is sent again when an answer is lost, and `Response.doubt` says so; with
        one (`prev_value`, `prev_index`, `prev_exist` False) it is not: ClusterError.maybe_applied. A
        refresh that compares `prev_value` is sent again: it changes no value.
        """
        if refresh and (value or dir):
            raise ValueError("a refresh keeps the value, and directories cannot be refreshed")
        build = requests.refresh if refresh else partial(requests.set_, value=value, dir=dir)
        action = build(
            key,
            prev_value=prev_value,
            prev_index=prev_index,
            prev_exist=prev_exist,
            ttl=ttl,
            no_value_on_success=no_value_on_success,
        )
        reply = self._service.call(action, self._service.limit(timeout, ctx))
        return replies.written(reply, bare=no_value_on_success)

    def create(
        self,
        key: str,
        value: str,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Response:
        """Make the key; KeyExists if there is one. PUT /v2/keys/<key>?prevExist=false.

        Not sent again when its answer is lost: ClusterError.maybe_applied.
        """
        return self.set(key, value, prev_exist=False, ttl=ttl, timeout=timeout, ctx=ctx)

    def update(
        self,
        key: str,
        value: str,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Response:
        """Write the key if there is one; otherwise KeyNotFound. PUT /v2/keys/<key>?prevExist=true."""
        return self.set(key, value, prev_exist=True, ttl=ttl, timeout=timeout, ctx=ctx)

    def create_in_order(
        self,
        dir: str,  # noqa: A002 (the contract's name)
        value: str,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Response:
        """Make a key in the directory, named after the store's index: 20 digits, growing, with gaps.

        POST /v2/keys/<dir>; the directory is made if there is none, NotADirectory if it is a file. Not
        sent again when its answer is lost (it would stand there twice): ClusterError.maybe_applied.
        """
        action = requests.create_in_order(dir, value, ttl=ttl)
        return replies.written(self._service.call(action, self._service.limit(timeout, ctx)))

    def delete(
        self,
        key: str,
        *,
        prev_value: str | None = None,
        prev_index: int | None = None,
        recursive: bool = False,
        dir: bool = False,  # noqa: A002 (the contract's name)
        timeout: float | None = None,
        ctx: Context | None = None,
    ) -> Response:
        """Delete the key if it is in the state demanded; KeyNotFound or CompareFailed, and nothing is
        changed, if not.

        DELETE /v2/keys/<key>. A directory needs `dir` (DirectoryNotEmpty if it has children) or
        `recursive`; NotAFile without. Not sent again when its answer is lost, for the second copy could
        delete what somebody made meanwhile: ClusterError.maybe_applied.
        """
        action = requests.delete(
            key, prev_value=prev_value, prev_index=prev_index, recursive=recursive, dir=dir
        )
        return replies.written(self._service.call(action, self._service.limit(timeout, ctx)))

    def watcher(self, key: str, *, after_index: int = 0, recursive: bool = False) -> Watcher:
        """Make a watcher of the key, or with `recursive` of all below it too. No request before `next`.

        It delivers what comes after `after_index`; with 0, what comes after its first contact with etcd.
        """
        watcher = Watcher(self._service, key, after_index=after_index, recursive=recursive)
        self._watchers.add(watcher)
        return watcher

    def close(self) -> None:
        """End all watchers."""
        for watcher in list(self._watchers):
            watcher.close()
