from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from etcd_recipes.cli.demo import command
from etcd_recipes.cli.demo.lines import Lines


@pytest.mark.parametrize(
    ("as_json", "terminal", "term", "rich", "shown"),
    [
        (False, True, "xterm-256color", True, "Screen"),
        (False, True, "xterm-256color", False, "Lines"),
        (False, True, "dumb", True, "Lines"),
        (False, False, "xterm-256color", True, "Lines"),
        (True, True, "xterm-256color", True, "Lines"),
    ],
    ids=["terminal", "no-rich", "dumb", "pipe", "json"],
)
def test_the_live_view_is_for_terminals_that_can(
    monkeypatch: pytest.MonkeyPatch, capsys, as_json, terminal, term, rich, shown
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setattr(command, "find_spec", lambda _: SimpleNamespace() if rich else None)
    with command._show(as_json=as_json, may_kill_member=True) as show:
        assert type(show).__name__ == shown
        if isinstance(show, Lines):
            assert show._stream is (sys.stderr if as_json else sys.stdout)
