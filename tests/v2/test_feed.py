"""The feed of the Store on v2: where its polls go."""

from __future__ import annotations

from etcd_recipes import Context
from etcd_recipes.core.http.cluster import Cluster
from etcd_recipes.core.v2.feed import V2Feed
from etcd_recipes.core.v2.service import Service
from etcd_recipes.core.v2.store import V2Store
from etcd_recipes.testing import EtcdProcess, FaultProxy
from tests.core.clusters import cluster_of


def pinned(cluster: Cluster, endpoint: str) -> V2Store:
    cluster._ring = cluster._ring.pin(endpoint)
    return V2Store(Service(cluster, 10.0))


def where(store: V2Store, prefix: str) -> str:
    """Give the endpoint of a feed that stays quiet."""
    with store.watch(Context(10.0), prefix=prefix, quiet=0.05) as feed:
        assert isinstance(feed, V2Feed)
        assert feed._poll is not None
        endpoint = feed._poll.endpoint
        assert feed.next() is None
    return endpoint


def test_where_a_feed_stayed_quiet_the_next_one_of_the_same_path_does_not_go(
    etcd: EtcdProcess,
) -> None:
    """Nothing else would tell a follower that its member is cut off: a poll there is silent, and no error."""
    with FaultProxy(etcd.endpoint) as proxy, cluster_of(proxy.endpoint, etcd.endpoint) as cluster:
        store = pinned(cluster, proxy.endpoint)
        turns = [where(store, "quiet/") for _ in range(3)]
        assert turns == [proxy.endpoint, etcd.endpoint, proxy.endpoint]
        assert where(store, "other/") == proxy.endpoint


def test_a_feed_with_news_is_not_moved(etcd: EtcdProcess) -> None:
    with FaultProxy(etcd.endpoint) as proxy, cluster_of(proxy.endpoint, etcd.endpoint) as cluster:
        store = pinned(cluster, proxy.endpoint)
        for number in range(2):
            with store.watch(Context(10.0), prefix="busy/", quiet=10.0) as feed:
                assert isinstance(feed, V2Feed)
                assert feed._poll is not None
                assert feed._poll.endpoint == proxy.endpoint
                store.create(f"busy/{number}", "", None, Context(10.0))
                assert feed.next() is not None


def test_a_feed_stays_where_it_is(etcd: EtcdProcess) -> None:
    """Its first event must not lead it back to a member that is cut off."""
    with FaultProxy(etcd.endpoint) as proxy, cluster_of(proxy.endpoint, etcd.endpoint) as cluster:
        store = pinned(cluster, proxy.endpoint)
        assert where(store, "back/") == proxy.endpoint
        with store.watch(Context(10.0), prefix="back/", quiet=0.2) as feed:
            store.create("back/1", "", None, Context(10.0))
            assert feed.next() is not None
            assert feed.next() is None
            assert isinstance(feed, V2Feed)
            assert feed._poll is not None
            assert feed._poll.endpoint == etcd.endpoint
