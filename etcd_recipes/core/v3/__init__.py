"""The v3 dialect: etcd's JSON gateway, as an API of its own and as a Store for the recipes.

The names are in the stub beside this file; each is imported when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
