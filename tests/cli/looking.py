"""The commands that look, run in this process: quick, and with everything they print."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from etcd_recipes.cli import main


@dataclass
class Ended:
    status: int
    out: str
    err: str


class Cli:
    """``etcd-recipes`` with a server to talk to."""

    def __init__(self, endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.endpoint = endpoint
        self._capsys = capsys

    def __call__(self, *args: str) -> Ended:
        return self.at(self.endpoint, *args)

    def at(self, endpoint: str, *args: str) -> Ended:
        self._capsys.readouterr()
        status = main.run(["--endpoints", endpoint, *args])
        captured = self._capsys.readouterr()
        return Ended(status, captured.out, captured.err)
