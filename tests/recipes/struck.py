"""A signal handler that raises, at the instruction that a test chooses."""

from __future__ import annotations

import threading
from typing import Any

import pytest


class Interrupted(BaseException):
    """As KeyboardInterrupt, which would end the run of the tests where it is not caught."""


def struck(
    monkeypatch: pytest.MonkeyPatch, owner: object, verb: str, error: BaseException, key: str = ""
) -> None:
    """Have `error` raised when the test's thread next calls `verb`, before it does anything.

    With `key`, only for an entry whose key ends so.
    """
    real, here, strikes = getattr(owner, verb), threading.get_ident(), [error]

    def strike(*args: Any, **options: Any) -> Any:
        meant = not key or args[0].key.endswith(key)
        if strikes and meant and threading.get_ident() == here:
            raise strikes.pop()
        return real(*args, **options)

    monkeypatch.setattr(owner, verb, strike)
