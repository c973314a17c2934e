"""Every error of the library, in one tree.

::

    EtcdRecipesError
    ├── ContextError                the caller's own limit ended the call
    │   ├── Cancelled
    │   └── DeadlineExceeded        (also a TimeoutError)
    ├── ClusterError                no endpoint gave an answer: .errors, .detail(), .maybe_applied
    ├── EndpointError               one attempt at one endpoint; stands in ClusterError.errors
    ├── ResponseError               an endpoint answered ...
    │   ├── InvalidResponse         ... with something that is not etcd's
    │   ├── EmptyResponse           ... with nothing
    │   └── EtcdError               ... with etcd's own error: .code .message .cause .index
    │       ├── KeyNotFound  KeyExists  CompareFailed
    │       ├── NotAFile  NotADirectory  DirectoryNotEmpty
    │       ├── HistoryLost         the events asked for are gone: .resume_from
    │       │   ├── Compacted           (v3)
    │       │   └── EventIndexCleared   (v2)
    │       ├── FutureRevision      (v3)
    │       ├── LeaseNotFound  LeaseExists
    │       ├── RequestTooLarge  NoSpace
    │       ├── Unauthenticated  PermissionDenied
    │       │   └── NotAuthorized       (v2: both, for it does not tell which)
    │       ├── UserNotFound  UserExists  RoleNotFound  RoleExists
    │       ├── MemberNotFound  MemberExists
    │       └── NoLeader
    ├── MissingDependency           an optional package is not installed (also an ImportError)
    └── RecipeError                 etcd works, but the recipe's promise cannot be kept
        ├── NotAcquired             (also a TimeoutError)
        ├── LockLost  SessionLost  NotHeld
        ├── LimitMismatch
        ├── BrokenBarrier
        └── StaleToken              a resource has seen a newer holder: .token .highest .resource

Rules of this file
1. Nothing else leaves the library: exceptions of requests, sockets, JSON and tenacity are translated
   where they arise and kept as ``__cause__``.
2. A message says what happened, to which endpoint or key, and, where it is not plain, what to do.
   No secret ever stands in one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "BrokenBarrier",
    "Cancelled",
    "ClusterError",
    "Compacted",
    "CompareFailed",
    "ContextError",
    "DeadlineExceeded",
    "DirectoryNotEmpty",
    "EmptyResponse",
    "EndpointError",
    "EtcdError",
    "EtcdRecipesError",
    "EventIndexCleared",
    "FutureRevision",
    "HistoryLost",
    "InvalidResponse",
    "KeyExists",
    "KeyNotFound",
    "LeaseExists",
    "LeaseNotFound",
    "LimitMismatch",
    "LockLost",
    "MemberExists",
    "MemberNotFound",
    "MissingDependency",
    "NoLeader",
    "NoSpace",
    "NotADirectory",
    "NotAFile",
    "NotAcquired",
    "NotAuthorized",
    "NotHeld",
    "PermissionDenied",
    "RecipeError",
    "RequestTooLarge",
    "ResponseError",
    "RoleExists",
    "RoleNotFound",
    "SessionLost",
    "StaleToken",
    "Unauthenticated",
    "UserExists",
    "UserNotFound",
]


class EtcdRecipesError(Exception):
    """The root: catches everything that this library raises on purpose, except ValueError and TypeError."""

    def __reduce__(self) -> tuple[Any, ...]:
        # To another process and back (multiprocessing, Celery) as it is, without building it anew.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[EtcdRecipesError], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


# -- the caller's own limit ----------------------------------------------------------------------------


class ContextError(EtcdRecipesError):
    """The call was ended by its Context or its timeout, whatever else went wrong on the way.

    `maybe_applied` is True when a write had been sent by then and its reply had not come.
    """

    maybe_applied: bool = False


class Cancelled(ContextError):
    """Somebody called ``cancel()`` on the Context (or on one of its parents)."""


class DeadlineExceeded(ContextError, TimeoutError):
    """The time that the caller gave is up."""


# -- no answer -------------------------------------------------------------------------------------------


class EndpointError(EtcdRecipesError):
    """One attempt at one endpoint got no answer that counts.

    `endpoint` is its URL. `maybe_applied` is False when the request certainly had no effect there (it
    was never sent, or the server refused it before doing anything), True when nobody can tell. `silent`
    is True when the endpoint did not say anything in time, as a stopped or cut-off server does. Where
    etcd itself said why it could not answer, `code`, `message` and `cause` are its words (0 and "" else).
    """

    def __init__(
        self,
        endpoint: str,
        reason: str,
        *,
        maybe_applied: bool = False,
        silent: bool = False,
        code: int = 0,
        message: str = "",
        cause: str = "",
    ) -> None:
        super().__init__(f"{endpoint}: {reason}")
        self.endpoint = endpoint
        self.reason = reason
        self.maybe_applied = maybe_applied
        self.silent = silent
        self.code = code
        self.message = message
        self.cause = cause


class ClusterError(EtcdRecipesError):
    """No endpoint gave an answer; `errors` holds one EndpointError per attempt, in their order.

    `maybe_applied` is True when the request may have been carried out although no reply came back: a
    write that must not happen twice has to be read back before it is tried again.
    """

    def __init__(
        self,
        errors: Sequence[EndpointError],
        *,
        what: str = "",
        harmless: bool = False,
        in_doubt: bool = False,
    ) -> None:
        self.errors: tuple[EndpointError, ...] = tuple(errors)
        self.maybe_applied = in_doubt or any(error.maybe_applied for error in self.errors)
        self.what = what
        super().__init__(self._sentence(harmless))

    def _sentence(self, harmless: bool) -> str:
        doing = f" ({self.what})" if self.what else ""
        in_doubt = self.maybe_applied and not harmless  # a read, or what may be repeated at will
        tail = "; it may have been carried out all the same" if in_doubt else ""
        return f"no etcd endpoint answered{doing}: {self.detail('; ')}{tail}"

    def detail(self, separator: str = "\n") -> str:
        """Give one line per attempt: the endpoint and what went wrong there."""
        return separator.join(str(error) for error in self.errors) or "there was no endpoint to ask"


# -- an answer, but not the one that was hoped for -----------------------------------------------------


class ResponseError(EtcdRecipesError):
    """An endpoint answered, and the answer is wrong or is an error; `endpoint` says which one (or "").

    `maybe_applied` is True when a write may have been carried out all the same: a copy of it was sent before,
    to an endpoint that did not answer; or the answer says that all went well, but was cut off or rewritten on
    its way.
    """

    maybe_applied: bool = False

    def __init__(self, message: str, *, endpoint: str = "") -> None:
        super().__init__(message)
        self.endpoint = endpoint


class InvalidResponse(ResponseError):
    """The answer is not one that etcd gives: most often the endpoint is not etcd, or its gateway is off."""


class EmptyResponse(ResponseError):
    """The answer has a good status and no content."""


class EtcdError(ResponseError):
    """Etcd answered with an error of its own.

    `code` is the gRPC code on v3 and the errorCode on v2; `message` and `cause` are etcd's words;
    `index` is the X-Etcd-Index on v2 and 0 on v3.
    """

    def __init__(
        self, message: str, *, code: int = 0, cause: str = "", index: int = 0, endpoint: str = ""
    ) -> None:
        where = f"{endpoint}: " if endpoint else ""
        why = f" ({cause})" if cause else ""
        super().__init__(f"{where}{message}{why} [code {code}]", endpoint=endpoint)
        self.code = code
        self.message = message
        self.cause = cause
        self.index = index


class KeyNotFound(EtcdError):
    """There is no such key."""


class KeyExists(EtcdError):
    """The key is there already."""


class CompareFailed(EtcdError):
    """The key is not in the state that the request demanded, so nothing was changed."""


class NotAFile(EtcdError):
    """The key is a directory (v2)."""


class NotADirectory(EtcdError):
    """The key is not a directory (v2)."""


class DirectoryNotEmpty(EtcdError):
    """The directory has keys in it (v2)."""


class HistoryLost(EtcdError):
    """The events that were asked for are no longer kept; list again, and go on from `resume_from`."""

    resume_from: int = 0


class Compacted(HistoryLost):
    """The revision asked for has been compacted away (v3)."""


class EventIndexCleared(HistoryLost):
    """The index asked for is older than the last thousand events that the server keeps (v2)."""


class FutureRevision(EtcdError):
    """The revision asked for has not come: here, on a member that is behind, or anywhere (v3)."""


class LeaseNotFound(EtcdError):
    """The lease has expired or was revoked, or there never was one."""


class LeaseExists(EtcdError):
    """The lease id is in use."""


class RequestTooLarge(EtcdError):
    """The request has more bytes than the server takes, by its ``--max-request-bytes`` (v3)."""


class NoSpace(EtcdError):
    """The server's database is full: it takes no more writes until its history was compacted, its file
    defragmented and the alarm switched off (v3).
    """


class Unauthenticated(EtcdError):
    """The user name, password or token is missing or not accepted."""


class PermissionDenied(EtcdError):
    """The user may not do this."""


class NotAuthorized(PermissionDenied, Unauthenticated):
    """The user is unknown, the password is wrong, or the user may not do this (v2 does not tell which)."""


class UserNotFound(EtcdError):
    """There is no such user."""


class UserExists(EtcdError):
    """There is such a user already."""


class RoleNotFound(EtcdError):
    """There is no such role."""


class RoleExists(EtcdError):
    """There is such a role already."""


class MemberNotFound(EtcdError):
    """The cluster has no such member, or not any more."""


class MemberExists(EtcdError):
    """A member of the cluster has one of these URLs already."""


class NoLeader(EtcdError):
    """The member has no leader at the moment, so it cannot serve the request."""


# -- the installation ----------------------------------------------------------------------------------


class MissingDependency(EtcdRecipesError, ImportError):
    """An optional package is not installed; the message says which extra brings it."""


# -- promises of recipes ---------------------------------------------------------------------------------


class RecipeError(EtcdRecipesError):
    """A recipe cannot keep its promise."""


class NotAcquired(RecipeError, TimeoutError):
    """The lock, permit or leadership was not to be had in the time given (or at once, if not waiting)."""


class NotHeld(RecipeError):
    """What should be released or used is not held by this object."""


class SessionLost(RecipeError):
    """The session (its lease) is gone, so whatever rested on it is gone too."""


class LockLost(RecipeError):
    """What was held is not held any more; the message says why and since when."""


class LimitMismatch(RecipeError):
    """A semaphore's limit is not what this object was made with, or less than it wants at once."""


class BrokenBarrier(RecipeError):
    """A party left or died inside the barrier, so the others cannot meet."""


class StaleToken(RecipeError):
    """The resource refuses a fencing token: somebody with a higher one has come to it since.

    `token` is the one refused, `highest` the highest seen (None where the resource does not say), `resource`
    its name, "" when it has none.
    """

    def __init__(
        self, message: str, *, token: int, highest: int | None = None, resource: str = ""
    ) -> None:
        super().__init__(message)
        self.token = token
        self.highest = highest
        self.resource = resource
