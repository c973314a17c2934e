"""The v2 dialect: etcd's first API (keys, members, auth), complete; etcd 3.4 and 3.5 with ``--enable-v2``.

The names are in the stub beside this file; each is imported when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
