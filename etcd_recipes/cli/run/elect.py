"""``etcd-recipes elect``: run a command while leading, or tell who leads.

The algorithm
1. Campaign until elected, past outages and lost leases; run the command.
2. The term is lost: the command is ended, and it begins anew at 1, at the end of the line.
3. The command has ended by itself: resign. That is the end, unless it is to be kept running: 1, after a
   pause. A signal that meant its end is the end in any case.

Rules of this file
* Only click is imported at the top: the command line's ``--help`` reads this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from etcd_recipes.cli.options import Settings, usage_errors
from etcd_recipes.cli.run import status
from etcd_recipes.cli.run.options import (
    FAREWELL,
    SECONDS,
    RunnerCommand,
    argv_of,
    runner_options,
    say,
    this_process,
    who,
)

if TYPE_CHECKING:
    from etcd_recipes import Election, Leadership
    from etcd_recipes.cli.run.runner import Runner

__all__ = ["command"]


@click.command("elect", cls=RunnerCommand, short_help="Run a command while leading.")
@click.argument("name")
@click.option("--value", metavar="TEXT", help="What this candidate proposes.  [default: HOST/PID]")
@click.option("-l", "--listen", is_flag=True, help="Only print who leads, at every change.")
@click.option("--keep", is_flag=True, help="When CMD ends by itself, campaign again.")
@click.option(
    "--pause",
    type=SECONDS,
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="With --keep: how long to wait before that.",
)
@runner_options
@click.pass_obj
def command(
    settings: Settings,
    name: str,
    value: str | None,
    listen: bool,
    keep: bool,
    pause: float,
    argv: tuple[str, ...],
    ttl: float,
    grace: float,
    verbose: bool,
) -> int:
    """Run CMD while this process leads the election NAME.

    It is one election with `etcdctl elect`, Go's Election and client.election(NAME). CMD gets
    ETCD_ELECTION_KEY, ETCD_ELECTION_REV, ETCD_ELECTION_TOKEN (the fencing token, the same number),
    ETCD_ELECTION_NAME and ETCD_ELECTION_VALUE. Signals and stdin are CMD's. Without CMD, the key is printed
    when elected, and the term is held until a signal.

    When the term is lost, CMD is ended, and this process is a candidate again. When CMD ends by itself, the
    term is resigned.

    Exit status: CMD's own; 128 + N if signal N killed it; 125 if this program failed; 126 if CMD cannot be
    executed; 127 if it is not found.
    """
    words = argv_of(argv)
    if listen and (words or value is not None or keep):
        raise click.UsageError("--listen only prints who leads: no CMD, no --value, no --keep")
    if words and (problem := status.unusable(words[0])) is not None:
        say(problem[1])
        return problem[0]
    from etcd_recipes import Cancelled
    from etcd_recipes.cli.run.runner import Runner

    proposal = this_process() if value is None else value
    connection = settings.connection()
    with Runner(words) as runner, connection.client(session_ttl=ttl) as client:
        with usage_errors():
            election = client.election(name, value=proposal)
        try:
            if listen:
                _listen(election, runner)
            client.session(ctx=runner.ctx)  # so that an etcd that is away is told, not waited for
            candidate = _Candidate(runner, election, name, verbose)
            return candidate.run(grace, pause if keep else None) if words else candidate.stand()
        except Cancelled:
            # To stand or to listen until a signal was the task.
            return runner.caught.status if words else 0


def _listen(election: Election, runner: Runner) -> None:
    """Print the leader's proposal at every change, an empty line while there is none, until a signal."""
    for leader in election.observe(ctx=runner.ctx):
        text = "" if leader is None else leader.value
        click.echo(text.replace("\\", "\\\\").replace("\n", "\\n"))


class _Candidate:
    """A candidate for ever; see the module's docstring."""

    def __init__(self, runner: Runner, election: Election, name: str, verbose: bool) -> None:
        self._runner = runner
        self._election = election
        self._name = name
        self._verbose = verbose

    def run(self, grace: float, pause: float | None) -> int:
        """Run the command term by term; give its exit status. With `pause` it is kept running."""
        while True:
            term = self._campaign()
            try:
                code = self._run(term, grace)
            finally:
                term.release(timeout=FAREWELL)
            if self._runner.caught.number or (code is not None and pause is None):
                return status.LOST if code is None else code
            if code is not None:
                self._say(f"the command ended with status {code}; the next campaign is to come")
                self._runner.ctx.wait(pause)

    def stand(self) -> int:
        """Lead for as long as it lasts, again and again, until a signal."""
        while not self._runner.caught.number:
            term = self._campaign()
            try:
                click.echo(term.key)
                if lost := self._runner.stand(term):
                    say(lost)
            finally:
                term.release(timeout=FAREWELL)
        return 0

    def _campaign(self) -> Leadership:
        from etcd_recipes.core import retry

        ctx = self._runner.ctx
        ctx.check()
        if self._verbose and (ahead := self._election.candidates(ctx=ctx)):
            say(f"waiting for {self._name}, behind {who(ahead)}")
        return retry.CAMPAIGN.run(
            ctx,
            lambda: self._election.campaign(ctx=ctx),
            on_failure=lambda error: self._say(f"still a candidate: {error}"),
        )

    def _run(self, term: Leadership, grace: float) -> int | None:
        """Give the command's exit status, None if the term was lost."""
        from etcd_recipes.core.errors import LockLost

        token = str(term.token)
        self._say(f"elected to {self._name}, with token {token}")
        env = {
            "ETCD_ELECTION_KEY": term.key,
            "ETCD_ELECTION_REV": token,
            "ETCD_ELECTION_TOKEN": token,
            "ETCD_ELECTION_NAME": self._name,
            "ETCD_ELECTION_VALUE": term.value,
        }
        try:
            end = self._runner.run(env, grace=grace, hold=term)
        except LockLost:
            return None  # before it was begun
        if end.lost:
            say(f"the command was ended, for the term was lost: {end.lost}")
            return None
        return status.of_wait(end.status)

    def _say(self, sentence: str) -> None:
        if self._verbose:
            say(sentence)
