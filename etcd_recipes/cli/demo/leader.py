"""What a worker does while it leads: it hands out jobs.

For as long as its term lasts
1. Write the term into the ledger, under its token.
2. When fewer jobs are outstanding than the plan allows, hand out the next one: a transaction that demands
   that the term's key is still this term's, and that nobody else has moved the counter.
3. Write the handout into the ledger, under the term's token: a leader that was replaced is refused.
4. When all are handed out, go on leading.

Rules of this file
* A lost reply is no reason to hand out a job twice: the same transaction is sent again, and when it does
  not succeed, the counter says whose it was.
"""

from __future__ import annotations

from functools import partial

from etcd_recipes import Client, Context, Leadership, LockLost
from etcd_recipes.cli.demo.board import Board, Counter, Job, has_room
from etcd_recipes.cli.demo.held import Tell, still, while_held
from etcd_recipes.cli.demo.ledger import Answer, Ledger, Outcome
from etcd_recipes.cli.demo.plan import Keys, Plan
from etcd_recipes.core import retry
from etcd_recipes.core.v3 import Compare, Op, RangeResult, TxnResult

__all__ = ["Leader"]


class Leader:
    """A worker as the leader; its `lead` is for ``election.run``."""

    def __init__(
        self,
        name: str,
        client: Client,
        plan: Plan,
        keys: Keys,
        board: Board,
        ledger: Ledger,
        tell: Tell,
        ctx: Context,
    ) -> None:
        self._name = name
        self._kv = client.v3.kv
        self._plan = plan
        self._keys = keys
        self._board = board
        self._ledger = ledger
        self._tell = tell
        self._ctx = ctx

    def lead(self, term: Leadership) -> None:
        """Hand out jobs until the term is lost (raises LockLost) or the worker is told to stop."""
        try:
            with while_held(term, self._ctx) as limited:
                if self._is_accepted(self._ledger.begin_term(self._name, term.token), ""):
                    self._tell("elected", token=term.token)
                    self._hand_out_all(term, limited)
        except LockLost as error:
            self._tell("lost", token=term.token, text=str(error))
            raise

    def _hand_out_all(self, term: Leadership, ctx: Context) -> None:
        while True:
            seen = self._board.wait_for(lambda seen: has_room(seen, self._plan), ctx)
            before = seen.counter
            if before.handed >= self._plan.jobs:
                ctx.wait()
                ctx.check()
            self._hand_out(term, before, ctx)

    def _hand_out(self, term: Leadership, before: Counter, ctx: Context) -> None:
        """Steps 2 and 3, and wait until the board shows it, or what was done before."""
        n = before.handed
        job = Job(self._plan.job(n), self._plan.seconds(n), self._name, term.token)
        after = Counter(n + 1, term.token)
        result = retry.PATIENT.run(ctx, partial(self._attempt, term, before, after, job, ctx))
        # Neither, when the board was old: the leader before has handed this one out.
        if result.succeeded or self._was_ours(result, after, term):
            answer = self._ledger.hand_out(self._name, term.token, job.name)
            if self._is_accepted(answer, job.name):
                self._tell("handed", job=job.name, token=term.token)
        self._board.wait_for(lambda seen: seen.counter.modified > before.modified, ctx)

    def _attempt(
        self, term: Leadership, before: Counter, after: Counter, job: Job, ctx: Context
    ) -> TxnResult:
        return self._kv.txn(
            [*still(term), Compare.mod_revision(self._keys.counter) == before.modified],
            [
                Op.put(self._keys.job(job.name), job.encode()),
                Op.put(self._keys.counter, after.encode()),
            ],
            [Op.get(self._keys.counter), Op.get(term.key)],
            ctx=ctx,
        )

    def _was_ours(self, refused: TxnResult, after: Counter, term: Leadership) -> bool:
        """Tell whether an earlier copy of the transaction did it; LockLost if the term is over."""
        counters, places = refused.responses
        assert isinstance(counters, RangeResult)
        assert isinstance(places, RangeResult)
        if not any(place.create_revision <= term.token for place in places.kvs):
            term.release()
            raise LockLost(f"{term.key} is gone from etcd")
        return [Counter.decode(kv.text, 0) for kv in counters.kvs] == [after]

    def _is_accepted(self, answer: Answer, job: str) -> bool:
        if answer.outcome is Outcome.WRITTEN:
            return True
        self._tell("refused", job=job, number=answer.highest)
        return False
