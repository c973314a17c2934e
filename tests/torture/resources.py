"""What is protected: two resources outside of etcd that check fencing tokens, one with a database, one with a file.

Each keeps a log of the elements that were written, in the order in which they were, with their tokens. Nothing
here hides what should not happen: an element may be written twice, a token may be anything.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from etcd_recipes.recipes.fencing import FileFence, require_one_row

__all__ = ["Written", "make_table", "read_file", "read_table", "write_file", "write_row"]

Written = tuple[str, int]
"""An element and its token."""

_TABLES = """
CREATE TABLE resource (name TEXT PRIMARY KEY, fence INTEGER NOT NULL, value TEXT NOT NULL);
CREATE TABLE log (n INTEGER PRIMARY KEY, name TEXT, element TEXT, token INTEGER);
"""


def make_table(path: Path, names: list[str]) -> None:
    with closing(_open(path)) as database:
        database.executescript(_TABLES)
        database.executemany("INSERT INTO resource VALUES (?, 0, '')", [(n,) for n in names])
        database.commit()


def write_row(path: Path, name: str, element: str, token: int) -> None:
    """Write with the token in the WHERE clause; StaleToken when a higher one was there."""
    with closing(_open(path)) as database, database:
        cursor = database.execute(
            "UPDATE resource SET fence = :token, value = :element WHERE name = :name AND fence <= :token",
            {"token": token, "element": element, "name": name},
        )
        require_one_row(cursor, token)
        database.execute(
            "INSERT INTO log (name, element, token) VALUES (?, ?, ?)", (name, element, token)
        )


def read_table(path: Path, name: str) -> list[Written]:
    with closing(_open(path)) as database:
        return list(
            database.execute("SELECT element, token FROM log WHERE name = ? ORDER BY n", (name,))
        )


def write_file(path: Path, element: str, token: int) -> None:
    """Append a line behind a FileFence; StaleToken when a higher token was there."""
    with FileFence(path.with_suffix(".fence")).writing(token):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, f"{element} {token}\n".encode())
        finally:
            os.close(file)


def read_file(path: Path) -> list[Written]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [(element, int(token)) for element, token in map(str.split, lines)]


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=60)
    database.execute("PRAGMA synchronous = OFF")  # processes are killed here, not the machine
    return database
