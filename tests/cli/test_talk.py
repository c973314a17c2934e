from __future__ import annotations

import os
import pty
import sys
import termios
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from shlex import split

import click
import pytest

from etcd_recipes.cli import main
from etcd_recipes.cli.talk import folded
from etcd_recipes.cli.view import evict

URL = "http://etcd-member-2.production.example.net:2379"


def test_a_sentence_is_folded_between_words_and_no_address_is_cut() -> None:
    lines = folded(f"etcd-recipes: {URL} does not answer", 30).splitlines()
    assert lines == ["etcd-recipes:", f"  {URL}", "  does not answer"]
    assert folded("one\ntwo three", 9) == "one\ntwo three"


@pytest.mark.parametrize(
    ("args", "status"),
    [
        ("locks", 125),
        ("doctor", 2),
        ("status", 1),
        ("top", 125),
        ("--help", 0),
        ("break x", 125),
        ("demo --endpoints 127.0.0.1:1 --command-timeout 200ms", 125),
    ],
)
def test_a_stream_that_is_closed_is_no_defect(monkeypatch, args: str, status: int) -> None:
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(sys, name, None)  # what Python makes of >&-
    with redirect_stderr(StringIO()) as said:
        assert main.run(["--endpoints", "127.0.0.1:1", *args.split()]) == status
    assert "defect" not in said.getvalue()
    monkeypatch.setattr(sys, "stderr", None)
    assert main.run(["--endpoints", "127.0.0.1:1", *args.split()]) == status


def test_on_a_terminal_no_line_is_longer_than_it_and_in_a_pipe_a_sentence_is_a_line(
    monkeypatch,
) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 60))
    args = ["locks", "--endpoints", "127.0.0.1:1"]
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert main.run(args) == 125
        said = os.read(ours, 4096).decode().split("\r\n")
    os.close(ours)
    assert max(map(len, said)) <= 60
    assert len(said) == 4  # three lines, and what is behind the last one's end
    with redirect_stderr(StringIO()) as piped:
        main.run(args)
    assert piped.getvalue().count("\n") == 1
    assert " ".join(line.strip() for line in said[:-1]) == piped.getvalue().rstrip()


@pytest.mark.parametrize(
    "args",
    [
        "--cacert {junk} locks",
        "--cert {junk} --key {junk} locks",
        "lock --cacert {junk} x true",
        "demo --cacert {junk}",
        "doctor --cacert {folder}",
        "locks --password-file {folder} --user me",
        "lock '' true",
        "lock --shared '' true",
        "lock --slots 2 '' true",
        "elect '' true",
        "register '' --addr h:1 true",
        "register x --addr h:1 --id '' true",
        "barrier '' hold",
        "discover ''",
        "discover --prefix '' x",
        "break ''",
        "demo --api v2",
        "--api v2 demo",
    ],
)
def test_what_makes_no_sense_is_a_usage_error(args: str, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    words = split(args.format(junk=junk, folder=tmp_path))
    with redirect_stderr(StringIO()) as said:
        assert main.run(["--endpoints", "127.0.0.1:1", *words]) == 2
    usage, *_, sentence = said.getvalue().rstrip().splitlines()
    assert usage.startswith("Usage: etcd-recipes")
    assert sentence.startswith("Error: ")
    assert ("--ca" in sentence or "--cert" in sentence) == ("--c" in args)


def test_a_no_says_that_nothing_was_removed(monkeypatch, capsys) -> None:
    monkeypatch.setattr(evict, "is_terminal", lambda _: True)
    monkeypatch.setattr(click, "confirm", lambda *_, **__: False)
    with pytest.raises(click.Abort):
        evict._ask(yes=False)
    assert capsys.readouterr().err == "etcd-recipes: nothing was removed\n"
