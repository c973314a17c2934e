"""Every call about keys against real servers: what it does, and which error says that it did not."""

from __future__ import annotations

import pytest

from etcd_recipes import (
    CompareFailed,
    DirectoryNotEmpty,
    EtcdError,
    KeyExists,
    KeyNotFound,
    NotADirectory,
    NotAFile,
)
from etcd_recipes.core.v2.keys import Keys
from etcd_recipes.testing import EtcdProcess
from tests.tools import eventually


def test_a_key_is_set_read_and_set_again(keys: Keys, name: str) -> None:
    first = keys.set(name, "1")
    assert (first.action, first.node.key, first.node.value) == ("set", name, "1")
    assert first.prev_node is None
    assert first.index == first.node.modified_index == first.node.created_index
    assert len(first.cluster_id) in range(1, 17)
    second = keys.set(name, "2")
    assert second.prev_node == first.node
    assert second.node.created_index > first.node.created_index
    assert keys.get(name[1:]).node == second.node
    assert keys.get(name, quorum=True).action == "get"


@pytest.mark.parametrize(
    "value",
    ["", " ", "a b", "a&b=c;d", "é日本\U0001f600", "\n\t\x7f\0", '"<>\\', "+%2F%", "x" * 2_000_000],
)
def test_a_value_comes_back_as_it_was(keys: Keys, name: str, value: str) -> None:
    keys.set(name, value)
    assert keys.get(name).node.value == value
    if value and len(value) < 1000:
        assert keys.set(name, "next", prev_value=value).action == "compareAndSwap"


@pytest.mark.parametrize(
    "key",
    [
        "a b",
        "?x=1",
        "#x",
        "%2F",
        "%2e%2e",
        "é日本",
        "a\nb",
        "a+b",
        "\\",
        "...",
        "a;b",
        "~",
        "\u2028",
        "\0",
    ],
)
def test_a_key_is_itself_and_no_other(keys: Keys, name: str, key: str) -> None:
    path = f"{name}/{key}"
    keys.set(path, "x")
    assert keys.get(path).node.key == path
    assert [node.key for node in keys.get(name).node.nodes] == [path]
    assert keys.delete(path).prev_node is not None
    assert keys.get(name).node.nodes == ()


def test_what_is_missing(keys: Keys, name: str) -> None:
    for call in (
        lambda: keys.get(name),
        lambda: keys.update(name, "x"),
        lambda: keys.delete(name),
        lambda: keys.set(name, "x", prev_value="y"),
        lambda: keys.delete(name, prev_index=5),
        lambda: keys.set(name, ttl=5, refresh=True, prev_exist=True),
    ):
        with pytest.raises(KeyNotFound) as raised:
            call()
        assert (raised.value.code, raised.value.message) == (100, "Key not found")
        assert raised.value.cause == name
        assert raised.value.index > 0


def test_create_makes_a_key_once(keys: Keys, name: str) -> None:
    assert keys.create(name, "1").action == "create"
    with pytest.raises(KeyExists) as raised:
        keys.create(name, "2")
    assert raised.value.code == 105
    assert keys.get(name).node.value == "1"


def test_update_keeps_the_incarnation(keys: Keys, name: str) -> None:
    created = keys.create(name, "1").node
    updated = keys.update(name, "2")
    assert updated.action == "update"
    assert updated.node.created_index == created.created_index
    assert updated.node.modified_index > created.modified_index


def test_compare_and_swap(keys: Keys, name: str) -> None:
    first = keys.set(name, "1").node
    for wrong in (
        lambda: keys.set(name, "2", prev_value="0"),
        lambda: keys.set(name, "2", prev_index=first.modified_index + 1),
        lambda: keys.delete(name, prev_value="0"),
        lambda: keys.delete(name, prev_index=first.modified_index + 1),
    ):
        with pytest.raises(CompareFailed) as raised:
            wrong()
        assert raised.value.code == 101
    swapped = keys.set(name, "2", prev_value="1", prev_index=first.modified_index, prev_exist=True)
    assert swapped.action == "compareAndSwap"
    assert swapped.node.created_index == first.created_index
    gone = keys.delete(name, prev_value="2", prev_index=swapped.node.modified_index)
    assert (gone.action, gone.node.value) == ("compareAndDelete", "")
    assert gone.prev_node is not None
    assert gone.prev_node.value == "2"


def test_a_ttl_is_rounded_up_told_and_ends_the_key(keys: Keys, name: str) -> None:
    node = keys.set(name, "x", ttl=0.2).node
    assert node.ttl == 1
    assert node.expiration is not None
    assert node.expiration.utcoffset() is not None

    def gone() -> bool:
        try:
            keys.get(name)
        except KeyNotFound:
            return True
        return False

    eventually(gone, 5.0, "the expiry")


def test_a_set_without_ttl_makes_the_key_stay(keys: Keys, name: str) -> None:
    keys.set(name, "x", ttl=60)
    node = keys.set(name, "y").node
    assert (node.ttl, node.expiration) == (None, None)


def test_a_refresh_changes_the_ttl_and_nothing_else(keys: Keys, name: str) -> None:
    first = keys.create(name, "mine", ttl=5)
    again = keys.set(name, ttl=60, refresh=True, prev_value="mine")
    assert again.action == "compareAndSwap"
    assert (again.node.value, again.node.ttl) == ("mine", 60)
    assert again.node.created_index == first.node.created_index
    assert keys.set(name, ttl=50, refresh=True, prev_exist=True).action == "update"
    with pytest.raises(CompareFailed):
        keys.set(name, ttl=60, refresh=True, prev_value="theirs")
    with keys.watcher(name, after_index=first.index) as watcher:
        keys.set(name, "seen")
        assert watcher.next(timeout=5.0).node.value == "seen"


def test_the_value_is_left_out_if_asked(keys: Keys, name: str) -> None:
    bare = keys.set(name, "x", no_value_on_success=True)
    assert (bare.action, bare.node, bare.prev_node) == ("set", None, None)
    assert keys.get(name).node.modified_index == bare.index


def test_keys_in_order_grow_and_sort(keys: Keys, name: str) -> None:
    made = [keys.create_in_order(name, str(number), ttl=60).node for number in range(5)]
    assert all(len(node.key.removeprefix(name + "/")) == 20 for node in made)
    listed = keys.get(name, sort=True).node.nodes
    assert [node.value for node in listed] == ["0", "1", "2", "3", "4"]
    assert [node.key for node in listed] == [node.key for node in made]
    with pytest.raises(NotADirectory):
        keys.create_in_order(made[0].key, "x")


def test_directories(keys: Keys, name: str) -> None:
    made = keys.set(name, dir=True)
    assert made.node.dir
    with pytest.raises(NotAFile):
        keys.set(name, dir=True)
    with pytest.raises(KeyExists):
        keys.set(name, dir=True, prev_exist=False)
    keys.set(f"{name}/b/c", "1")
    keys.set(f"{name}/a", "2")
    keys.set(f"{name}/_hidden", "3")
    (a, b) = keys.get(name, sort=True).node.nodes
    assert (a.key, b.key, b.dir, b.nodes) == (f"{name}/a", f"{name}/b", True, ())
    tree = keys.get(name, recursive=True, sort=True).node
    assert tree.nodes[1].nodes[0].value == "1"
    assert keys.get(f"{name}/_hidden").node.value == "3"
    for call in (
        lambda: keys.set(name, "x"),
        lambda: keys.delete(name),
        lambda: keys.set(name, "x", prev_value="y"),
    ):
        with pytest.raises(NotAFile):
            call()
    with pytest.raises(DirectoryNotEmpty):
        keys.delete(name, dir=True)
    with pytest.raises(NotADirectory):
        keys.get(f"{name}/a/below")
    assert keys.delete(name, recursive=True).node.dir


def test_the_ttl_of_a_directory_can_be_changed_or_the_error_is_clear(
    keys: Keys, name: str, server: EtcdProcess
) -> None:
    keys.set(name, dir=True)
    if server.version >= (3, 5, 0):
        with pytest.raises(NotAFile):
            keys.set(name, dir=True, prev_exist=True, ttl=60)
    else:
        assert keys.set(name, dir=True, prev_exist=True, ttl=60).node.ttl == 60


def test_the_root(keys: Keys) -> None:
    for root in ("", "/"):
        node = keys.get(root).node
        assert (node.key, node.dir) == ("/", True)
    with pytest.raises(EtcdError) as raised:
        keys.delete("/", recursive=True)
    assert raised.value.code == 107
