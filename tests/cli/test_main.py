from __future__ import annotations

import re
import signal
import subprocess
import sys
from importlib.metadata import version

import click
import pytest

from etcd_recipes import ClusterError, EndpointError, LockLost, Unauthenticated
from etcd_recipes.cli import main


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Make the command `demo` raise, and give what the whole program does then."""

    def run(error: BaseException, *args: str) -> int:
        def fail() -> None:
            raise error

        command = click.Command("demo", callback=fail)
        monkeypatch.setattr(main.cli, "get_command", lambda _ctx, _name: command)
        return main.run([*args, "demo"])

    return run


NOBODY = Unauthenticated("etcdserver: user name is empty", code=3, endpoint="http://h:1")
REFUSED = ClusterError([EndpointError("http://h:1", "connection refused")])


@pytest.mark.parametrize(
    ("error", "status", "err"),
    [
        (REFUSED, 125, "etcd-recipes: no etcd endpoint answered: http://h:1: connection refused\n"),
        (LockLost("the lock is gone"), 125, "etcd-recipes: the lock is gone\n"),
        (OSError(28, "No space left on device"), 125, "etcd-recipes: No space left on device\n"),
        (OSError(2, "No such file or directory", "/x"), 125, "etcd-recipes: /x: No such file or directory\n"),
        (NOBODY, 125, f"etcd-recipes: {NOBODY}: check --user and its password\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=["cluster", "recipe", "os", "file", "user", "ctrl-c"],
)  # fmt: skip
def test_an_error_is_one_sentence_and_a_status(failing, capsys, error, status, err) -> None:
    assert failing(error) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.removeprefix("\n") == err


def test_a_defect_is_called_one(failing, capsys) -> None:
    assert failing(ZeroDivisionError("division by zero")) == 125
    said = capsys.readouterr().err
    assert "this is a defect" in said
    assert "ZeroDivisionError: division by zero" in said
    assert "Traceback" not in said


def test_debug_shows_the_traceback_too(failing, capsys) -> None:
    assert failing(REFUSED, "--debug") == 125
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert said.endswith("connection refused\n")


def test_a_usage_error_is_clicks_own(capsys) -> None:
    assert main.run(["nosuchcommand"]) == 2
    assert "No such command 'nosuchcommand'" in capsys.readouterr().err


def test_what_a_command_returns_is_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    command = click.Command("demo", callback=lambda: 7)
    monkeypatch.setattr(main.cli, "get_command", lambda _ctx, _name: command)
    assert main.run(["demo"]) == 7


def test_the_version_is_the_packages_own(capsys) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"etcd-recipes {version('etcd-recipes')}\n"


def test_help_says_of_each_command_what_it_says_of_itself(capsys) -> None:
    assert main.run(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:")[2]
    context = click.Context(main.cli)
    for name in main.cli.list_commands(context):
        command = main.cli.get_command(context, name)
        says = re.escape(command.get_short_help_str(limit=200)).replace(r"\ ", r"\s+")
        assert re.search(rf"^  {name} +{says}$", listed, re.MULTILINE), name


def test_help_imports_neither_the_screen_nor_the_kit() -> None:
    source = (
        "import sys; from etcd_recipes.cli.main import run; run(['demo', '--help']);"
        "print([m for m in ('rich', 'sqlite3', 'etcd_recipes.testing') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--workers", "1"), "1 is not in the range"),
        (("--workers", "0"), "0 is not in the range"),
        (("--workers", "1000"), "1000 is not in the range"),
        (("--workers", "x"), "'x' is not a valid integer"),
        (("--jobs", "-3"), "-3 is not in the range"),
        (("--workers", "8", "--jobs", "5"), "5 is less than the 8 workers"),
        (("--ttl", "0"), "0 is not in the range"),
        (("--ttl", "nan"), "'nan' is not a valid integer"),
    ],
    ids=["one", "none", "many", "word", "negative", "too-few", "ttl", "nan"],
)
def test_silly_numbers_are_usage_errors(capsys, args: tuple[str, ...], sentence: str) -> None:
    assert main.run(["demo", *args]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("etcd-recipes stat", ["status"]),
        ("etcd-recipes lock --nonb", ["--nonblock"]),
        ("etcd-recipes barrier deploy re", ["release"]),
    ],
)
def test_the_shell_completes(monkeypatch, capsys, words: str, offered: list[str]) -> None:
    monkeypatch.setenv("_ETCD_RECIPES_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words.replace(" ", "\n"))
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    with pytest.raises(SystemExit):
        main.run()
    assert [line.partition(",")[2] for line in capsys.readouterr().out.split()] == offered


@pytest.mark.parametrize(
    ("before", "status", "said"),
    [("", -signal.SIGINT, ""), ("signal.signal(2, signal.SIG_IGN)", 0, "etcd-recipes")],
    ids=["heard", "ignored"],
)
def test_a_ctrl_c_while_it_imports_is_no_traceback(before: str, status: int, said: str) -> None:
    source = f"""
import os, signal, sys
{before}
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)
from etcd_recipes.cli.entry import main
sys.meta_path.insert(0, Interrupting())
sys.argv = ["etcd-recipes", "--version"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.partition(" ")[0], done.stderr) == (status, said, "")
