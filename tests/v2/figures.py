"""Figures that a test found, shown by ``pytest -rP`` or ``-s``."""

from __future__ import annotations

import sys

__all__ = ["say"]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
