from __future__ import annotations

from etcd_recipes import Client, Context
from etcd_recipes.cli.demo.plan import Keys, Plan
from etcd_recipes.cli.demo.stage import Stage
from etcd_recipes.cli.demo.story import apply, begin
from etcd_recipes.testing import EtcdProcess
from tests.cli.stories import event
from tests.tools import Job, eventually

PLAN = Plan(workers=2, jobs=2)


class Silent:
    def tell(self, *_: object) -> None: ...

    def refresh(self, *_: object) -> None: ...


def test_the_curtain_waits_until_the_last_job_is_out_of_etcd(etcd: EtcdProcess) -> None:
    keys = Keys("test_curtain/")
    picture = begin(PLAN)
    for job in PLAN.all_jobs:
        picture = apply(picture, event("wrote", "worker-1", job=job))
    stage = Stage(PLAN, Silent(), Context(20.0))
    stage._picture = picture
    with Client(etcd.endpoint) as client:
        client.v3.kv.put(keys.job("002"), "{}")
        waiting = Job(lambda: stage._wait_until_cleared(client, keys))
        revision = client.v3.kv.range(keys.jobs, prefix=True).revision
        eventually(lambda: waiting.running and client.v3.kv.put("other", "").revision > revision)
        assert waiting.running
        client.v3.kv.delete(keys.job("002"))
        waiting.result()


def test_an_unfinished_run_is_not_waited_for(etcd: EtcdProcess) -> None:
    keys = Keys("test_unfinished/")
    with Client(etcd.endpoint) as client:
        client.v3.kv.put(keys.job("002"), "{}")
        Stage(PLAN, Silent(), Context(20.0))._wait_until_cleared(client, keys)
