"""The one way in which the kit waits: ask every 10 ms, until there is an answer or the Context ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_result, wait_fixed

from etcd_recipes.core.context import Context

__all__ = ["wait_until"]

T = TypeVar("T")

_INTERVAL = 0.01


def wait_until(ask: Callable[[], T | None], ctx: Context) -> T | None:
    """Give the first answer of `ask` that is not None, or None once `ctx` has ended."""

    def sleep(seconds: float) -> None:
        ctx.wait(seconds)

    def has_ended(_state: RetryCallState) -> bool:
        return ctx.done

    polling = Retrying(
        retry=retry_if_result(lambda answer: answer is None),
        wait=wait_fixed(_INTERVAL),
        sleep=sleep,
        stop=has_ended,
        retry_error_callback=lambda _state: None,
    )
    answer: T | None = polling(ask)
    return answer
