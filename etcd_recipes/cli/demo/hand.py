"""What a worker does all the time: it takes jobs, one after the other, each under its lock.

For ever
1. Choose a job that nobody has, and try its lock, without waiting.
2. Write into the ledger that the job begins, under the lock's token. If it is done already, go to 4.
3. Work, and write the job's row into the ledger, under the lock's token.
4. Remove the job from etcd, in a transaction that demands that the lock's key is still this lock's, and
   release the lock.

A worker that dies on the way leaves the job to another one: the lock goes with the dead one's lease. Between
3 and 4 the job is done and still in etcd; the next one to take it finds it in the ledger, and goes to 4.
"""

from __future__ import annotations

from functools import partial

from etcd_recipes import Client, Context, Hold, LockLost
from etcd_recipes.cli.demo.board import Board, Job, Seen, choose
from etcd_recipes.cli.demo.held import Tell, still, while_held
from etcd_recipes.cli.demo.ledger import Answer, Ledger, Outcome
from etcd_recipes.cli.demo.plan import Keys
from etcd_recipes.core import retry
from etcd_recipes.core.v3 import Op

__all__ = ["Hand"]

_LOOK_AGAIN = 1.0  # seconds after which what was taken a moment ago is tried again


class Hand:
    """A worker as a hand. `turn` is where it begins to choose, so that not all try the same job first."""

    def __init__(
        self,
        name: str,
        turn: int,
        client: Client,
        keys: Keys,
        board: Board,
        ledger: Ledger,
        tell: Tell,
        ctx: Context,
    ) -> None:
        self._name = name
        self._turn = turn
        self._client = client
        self._keys = keys
        self._board = board
        self._ledger = ledger
        self._tell = tell
        self._ctx = ctx

    def work(self) -> None:
        """Take jobs until the worker is told to stop; raises the Context's error then."""
        before: Seen | None = None
        tried: frozenset[str] = frozenset()
        while True:
            seen = self._board.wait_for(
                partial(self._calls_for_action, before, tried), self._ctx, at_most=_LOOK_AGAIN
            )
            job = choose(seen, self._turn, tried)
            if seen is not before or job is None:
                before, tried = seen, frozenset()
                job = choose(seen, self._turn, tried)
            if job is not None:
                tried |= {job.name}
                self._try(job)

    def _calls_for_action(self, before: Seen | None, tried: frozenset[str], seen: Seen) -> bool:
        return seen is not before or choose(seen, self._turn, tried) is not None

    def _try(self, job: Job) -> None:
        """Step 1."""
        lock = self._client.lock(self._keys.lock(job.name))
        acquire = partial(lock.acquire, blocking=False, ctx=self._ctx)
        hold = retry.CAMPAIGN.run(self._ctx, acquire)
        if hold is None:
            return
        try:
            with while_held(hold, self._ctx) as limited:
                self._take(job, hold, limited)
        except LockLost as error:
            self._tell("lost", job=job.name, token=hold.token, text=str(error))
        finally:
            hold.release()

    def _take(self, job: Job, hold: Hold, ctx: Context) -> None:
        """Steps 2 to 4."""
        begun = self._ledger.take(self._name, hold.token, job.name)
        if begun.outcome is Outcome.WRITTEN:
            self._tell("took", job=job.name, token=hold.token)
            ctx.wait(job.seconds)  # the work itself
            ctx.check()
            begun = self._ledger.finish(self._name, hold.token, job.name)
        self._say(begun, job, hold)
        if begun.outcome is not Outcome.REFUSED:
            retry.PATIENT.run(ctx, partial(self._remove, job, hold, ctx))

    def _remove(self, job: Job, hold: Hold, ctx: Context) -> None:
        removed = self._client.v3.kv.txn(
            still(hold), [Op.delete(self._keys.job(job.name))], ctx=ctx
        )
        if not removed.succeeded:
            raise LockLost(f"{hold.key} is gone from etcd")

    def _say(self, answer: Answer, job: Job, hold: Hold) -> None:
        match answer.outcome:
            case Outcome.WRITTEN:
                self._tell("wrote", job=job.name, token=hold.token)
            case Outcome.ALREADY:
                self._tell("found", job=job.name)
            case Outcome.REFUSED:
                self._tell("refused", job=job.name, token=hold.token, number=answer.highest)
