"""Real etcd servers for tests, demos and development, and what tests do to those who use them.

::

    with EtcdProcess() as etcd:          # one member
        Client(etcd.endpoint)

    with EtcdCluster(3) as cluster:      # three of them
        cluster.leader().kill()
        cluster.leader()                 # another one

    with FaultProxy(etcd.endpoint) as proxy:
        proxy.blackhole()                # nothing passes any more; proxy.heal() ends it

    expire(hold)                         # its lease ends now, and it is lost
    with suspend(client):                # nothing reaches etcd
        ...

`NoEtcd` is a client for unit tests that need no server. It shows what the recipes do, by the rules of etcd, in
one process; it is no etcd, so what an application makes of networks, servers and other processes takes a real
one to test.

The pytest fixtures are in `etcd_recipes.testing.plugin`. Each name is imported when it is first asked for, so
that the plugin costs nothing where it is installed and not used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
