"""The errors of v2: codes, words, and the HTTP status of each."""

from __future__ import annotations

from tests.simulation.model.wire import Json

__all__ = ["MESSAGES", "V2Error", "shape", "status_of"]

MESSAGES = {
    100: "Key not found",
    101: "Compare failed",
    102: "Not a file",
    104: "Not a directory",
    105: "Key already exists",
    107: "Root is read only",
    108: "Directory not empty",
    201: "PrevValue is Required in POST form",
    202: "The given TTL in POST form is not a number",
    203: "The given index in POST form is not a number",
    209: "Invalid field",
    210: "Invalid POST form",
    211: "Value provided on refresh",
    212: "A TTL must be provided on refresh",
    300: "Raft Internal Error",
    301: "During Leader Election",
    400: "watcher is cleared due to etcd recovery",
    401: "The event in requested index is outdated and cleared",
}
_STATUS = {100: 404, 101: 412, 102: 403, 105: 412, 108: 403, 300: 500, 301: 500}


class V2Error(Exception):
    """etcd's own error on v2; `index` is the store's, 0 for a request that makes no sense."""

    def __init__(self, code: int, cause: str = "", index: int = 0) -> None:
        super().__init__(f"{code} {cause}")
        self.code = code
        self.cause = cause
        self.index = index


def status_of(code: int) -> int:
    """Give the HTTP status of an error."""
    return _STATUS.get(code, 400)


def shape(error: V2Error) -> Json:
    """Give the error as JSON has it."""
    found: Json = {"errorCode": error.code, "message": MESSAGES[error.code]}
    cause = error.cause.removeprefix("/1")
    if cause:
        found["cause"] = cause
    return found | {"index": error.index}
