from .values import Member, Node, Response, Role, User, Version

__all__ = ["Member", "Node", "Response", "Role", "User", "Version"]
