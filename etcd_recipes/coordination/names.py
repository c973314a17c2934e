"""Names of locks, elections, services: what is accepted, said in one place."""

from __future__ import annotations

__all__ = ["check_name"]


def check_name(name: str, what: str = "name") -> str:
    """Give `name` back; ValueError when it is empty, ends with "/", or holds NUL; TypeError when no str."""
    article = "an" if what[0] in "aeiou" else "a"
    if not isinstance(name, str):
        raise TypeError(f"{article} {what} is a str, not {type(name).__name__}")
    if not name:
        raise ValueError(f"{article} {what} must not be empty")
    if name.endswith("/"):
        raise ValueError(
            f"{what} {name!r} ends with '/': its keys would lie below an empty name; drop it"
        )
    if "\0" in name:
        raise ValueError(f"{what} {name!r} contains a NUL character")
    return name
