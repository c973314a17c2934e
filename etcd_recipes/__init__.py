"""Distributed coordination for Python on etcd: locks, leader election, service registry and discovery.

The names are in the stub beside this file; each is imported when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
