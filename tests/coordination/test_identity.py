"""What a process says of itself in a line."""

from __future__ import annotations

import json
import os
import socket

import pytest

from etcd_recipes.coordination.identity import contender, describe_self
from etcd_recipes.core.store import Entry


def test_a_process_is_the_same_in_all_that_it_says() -> None:
    first, second = json.loads(describe_self()), json.loads(describe_self(kind="read", weight=2))
    assert (first["host"], first["pid"]) == (socket.gethostname(), os.getpid())
    assert first.pop("since") <= second.pop("since")
    assert second == {**first, "kind": "read", "weight": 2}


def test_a_forked_child_is_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = json.loads(describe_self())
    monkeypatch.setattr(os, "getpid", lambda: parent["pid"] + 1)
    child = json.loads(describe_self())
    assert child["pid"] == parent["pid"] + 1
    assert child["id"] != parent["id"]


def test_a_contender_is_named_by_what_it_said() -> None:
    said = describe_self()
    here = json.loads(said)
    named = contender(Entry("line/7", said, 3, 3, 7))
    assert named.identity == f"{here['host']}/{here['pid']}/{here['id']}"
