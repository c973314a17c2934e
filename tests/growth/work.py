"""Work, counted: how many steps of the interpreter a call takes in our own code. Noise has no part in it.

A loop over all instances, holds or waiters shows as steps that grow with their number; a search in a sorted list,
or a shift inside one, does not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(call: Callable[[], object], below: str = "/etcd_recipes/") -> int:
    """Give the steps that `call` takes in files whose name contains `below`, on this thread."""
    count = 0

    def local(_frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal count
        count += event == "opcode"
        return local

    def enter(frame: FrameType, _event: str, _arg: Any) -> Any:
        if below not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        return local

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        call()
    finally:
        sys.settrace(before)
    return count
