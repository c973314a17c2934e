"""What a run's numbers mean, and when a command is ended. Pure: no process runs."""

from __future__ import annotations

import errno

import click
import pytest

from etcd_recipes.cli.run import status
from etcd_recipes.cli.run.lifetime import Lifetime, Step
from etcd_recipes.cli.run.options import RunnerCommand, argv_of


@pytest.mark.parametrize(
    ("wait_status", "code"),
    [(0, 0), (7 << 8, 7), (255 << 8, 255), (9, 137), (15, 143), (11 | 0x80, 139)],
)
def test_a_signal_is_128_and_its_number(wait_status: int, code: int) -> None:
    assert status.of_wait(wait_status) == code


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOENT, 127), (errno.ENOTDIR, 127), (errno.EACCES, 126), (errno.ENOEXEC, 126)],
)
def test_what_cannot_be_started_is_126_or_127(number: int, code: int) -> None:
    assert status.of_start(OSError(number, "")) == code


def test_a_command_is_looked_for_before_anything_is_acquired(tmp_path, monkeypatch) -> None:
    plain, good = tmp_path / "plain", tmp_path / "good"
    plain.touch(0o644)
    good.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert status.unusable("good") is status.unusable(str(good)) is None
    assert status.unusable("plain")[0] == status.unusable(str(plain))[0] == 126
    assert status.unusable(str(tmp_path))[0] == 126
    assert status.unusable("nosuch") == (127, "nosuch: command not found")
    assert status.unusable(f"{plain}/x")[0] == 127


# -- the lifetime ----------------------------------------------------------------------------------------


def test_without_a_hold_nothing_is_ever_due() -> None:
    forever = Lifetime(grace=5)
    assert forever.step(1e9) is Step.LEAVE
    assert forever.patience(0) is None


def test_a_command_is_asked_in_time_and_dead_when_the_hold_may_be_anothers() -> None:
    life = Lifetime.under(ttl=15, until=100, grace=2)
    assert (life.step(97.9), life.step(98)) == (Step.LEAVE, Step.ASK)
    assert life.patience(90) == 8
    late = life.run_out()
    assert (late.step(99.9), late.step(100)) == (Step.LEAVE, Step.KILL)
    assert late.patience(98) == 2


def test_a_long_grace_leaves_the_renewals_a_second_chance() -> None:
    assert Lifetime.under(ttl=15, until=100, grace=60).patience(90) == 5


def test_a_renewal_moves_the_end_but_brings_no_command_back() -> None:
    life = Lifetime.under(ttl=15, until=100, grace=2)
    assert life.renewed(105).step(98) is Step.LEAVE
    assert life.run_out().renewed(105).step(100) is Step.KILL


def test_a_hold_that_was_taken_leaves_the_whole_grace() -> None:
    life = Lifetime.under(ttl=15, until=100, grace=5).taken(99)
    assert (life.step(103.9), life.step(104)) == (Step.LEAVE, Step.KILL)


def test_the_date_of_the_killing_is_only_brought_forward() -> None:
    life = Lifetime.under(ttl=15, until=100, grace=5)
    assert life.run_out().taken(99).kill_at == 100
    assert life.taken(90).taken(99).kill_at == 95
    assert life.taken(90).abandoned(91).kill_at == 95


def test_without_a_runner_a_command_has_its_grace_but_not_past_the_lease() -> None:
    life = Lifetime.under(ttl=15, until=100, grace=5)
    assert life.abandoned(90).kill_at == 95
    assert life.abandoned(98).kill_at == 100
    assert life.abandoned(101).kill_at == 101
    assert Lifetime(grace=5).abandoned(7).kill_at == 12


# -- the command line ------------------------------------------------------------------------------------


@click.command(cls=RunnerCommand)
@click.argument("name")
@click.option("--ttl")
@click.option("-n", is_flag=True)
@click.argument("argv", nargs=-1, type=click.UNPROCESSED)
def taken_apart(**found: object) -> dict[str, object]:
    return found


@pytest.mark.parametrize(
    ("line", "ttl", "argv"),
    [
        ("NAME sh -c x", None, "sh -c x"),
        ("NAME -- sh -c x", None, "sh -c x"),
        ("--ttl 5 NAME sh -n", "5", "sh -n"),
        ("NAME --ttl 5 sh -n", "5", "sh -n"),
        ("NAME --ttl=5 -- sh --ttl 6", "5", "sh --ttl 6"),
        ("--ttl 4 NAME --ttl 5 -- sh", "5", "sh"),
        ("NAME sh -- x", None, "sh -- x"),
        ("NAME", None, ""),
        ("NAME --ttl 5", "5", ""),
        ("-- NAME --ttl 5", None, "--ttl 5"),
    ],
)
def test_options_may_stand_on_both_sides_of_the_name(line: str, ttl: str, argv: str) -> None:
    found = taken_apart.main(line.split(), standalone_mode=False)
    assert found["name"] == "NAME"
    assert not found["n"]
    assert found["ttl"] == ttl
    assert argv_of(found["argv"]) == argv.split()


@pytest.mark.parametrize("line", ["NAME --nosuch sh", "--nosuch NAME", ""])
def test_what_is_no_option_of_ours_is_a_usage_error(line: str) -> None:
    with pytest.raises(click.UsageError):
        taken_apart.main(line.split(), standalone_mode=False)


def test_dashes_without_a_command_are_a_usage_error() -> None:
    with pytest.raises(click.UsageError, match="no command behind"):
        argv_of(["--"])
