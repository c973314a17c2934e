"""The v2 dialect: etcd's first API (keys, members, auth), complete; etcd 3.4 and 3.5 with ``--enable-v2``."""

from etcd_recipes.core.v2.values import Member, Node, Response, Role, User, Version

__all__ = ["Member", "Node", "Response", "Role", "User", "Version"]
