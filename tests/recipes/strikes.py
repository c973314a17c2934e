"""Strikes: what a signal handler that raises does to a call, in the worst moment; programs survive it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

__all__ = ["Interrupted", "SoftTimeLimit", "struck"]


class Interrupted(BaseException):
    """As KeyboardInterrupt, which would end the run of the tests where it is not caught."""


class SoftTimeLimit(Exception):
    """As Celery's: raised by a signal handler, wherever the main thread is; the worker goes on."""


def struck(
    monkeypatch: pytest.MonkeyPatch, owner: object, verb: str, error: BaseException, key: str = ""
) -> None:
    """Have a signal handler raise when `verb` is next called by the test's thread, before it does anything.

    With `key`, only for an entry whose key ends so.
    """
    real, here, strikes = getattr(owner, verb), threading.get_ident(), [error]

    def strike(*args: Any, **options: Any) -> Any:
        meant = not key or args[0].key.endswith(key)
        if strikes and meant and threading.get_ident() == here:
            raise strikes.pop()
        return real(*args, **options)

    monkeypatch.setattr(owner, verb, strike)
