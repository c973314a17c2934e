"""A model of an etcd cluster, at the level of bytes on the wire: pure, deterministic, without a clock.

    cluster = Cluster(rng=random.Random(7))
    answer = cluster.members[0].answer(Request("POST", "/v3/kv/put", b'{"key":"Zm9v"}'), now=0.0)

`wire` and `errors` are the forms, `mvcc`, `kv` and `leases` what a cluster agrees on, `watch` the streams,
`gateway` the v3 API of a member, `member` and `cluster` who is connected to whom.
"""

from tests.simulation.model.cluster import Cluster
from tests.simulation.model.member import Member
from tests.simulation.model.watch import WatchHandle
from tests.simulation.model.wire import Answer, Request

__all__ = ["Answer", "Cluster", "Member", "Request", "WatchHandle"]
