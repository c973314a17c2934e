"""Codecs: gRPC naming as Go writes and reads it, our own JSON, a user's, and what is none of these."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from etcd_recipes import Client, Codec, Instance
from etcd_recipes.recipes.registry.codec import CODECS
from tests.recipes.operator import remove, write
from tests.tools import eventually

GRPC, JSON = CODECS["grpc"], CODECS["json"]
FULL = Instance("api", "i", "10.0.0.7:8080", {"version": "7"}, 3, "east", owner="me")


# -- pure --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "instance", [FULL, Instance("api", "i", "[::1]:80"), replace(FULL, weight=0)]
)
@pytest.mark.parametrize("codec", [JSON, GRPC], ids=["json", "grpc"])
def test_what_is_written_is_read(codec: Codec, instance: Instance) -> None:
    value = codec.encode(instance)
    assert value is not None
    found = codec.read("api", "i", value)
    assert found == instance
    assert found.owner == instance.owner


def test_go_gets_the_three_fields_that_its_encoder_writes_and_metadata_that_it_can_compare() -> (
    None
):
    value = json.loads(GRPC.encode(FULL) or "")
    assert list(value) == ["Op", "Addr", "Metadata"]
    assert (value["Op"], value["Addr"]) == (0, "10.0.0.7:8080")
    # An object there is a map in Go, and comparing two of them panics in its balancer.
    assert isinstance(value["Metadata"], str)
    own = json.loads(value["Metadata"])
    assert own == {"owner": "me", "metadata": {"version": "7"}, "weight": 3, "zone": "east"}


def test_go_has_no_word_for_draining() -> None:
    assert GRPC.encode(replace(FULL, draining=True)) is None
    assert JSON.read("api", "i", JSON.encode(replace(FULL, draining=True)) or "").draining  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # Go's encoding/json, character by character.
        ('{"Op":0,"Addr":"10.0.0.1:80","Metadata":null}', Instance("api", "i", "10.0.0.1:80")),
        ('{"Op":0,"Addr":"a","Metadata":"blue"}', Instance("api", "i", "a", {"metadata": "blue"})),
        (
            '{"Op":0,"Addr":"a","Metadata":{"weight":5,"zone":"west","rack":12,"x":{"y":[1]}}}',
            Instance("api", "i", "a", {"rack": "12", "x": '{"y":[1]}'}, 5, "west"),
        ),
        (
            '{"Op":0,"Addr":"a","Metadata":{"metadata":7}}',
            Instance("api", "i", "a", {"metadata": "7"}),
        ),
        ('{"Op":0,"Addr":"a","Metadata":[1,2]}', Instance("api", "i", "a", {"metadata": "[1,2]"})),
        ('{"Op":1,"Addr":"a\\u0026b"}', Instance("api", "i", "a&b")),
    ],
)
def test_what_go_wrote_is_read(value: str, expected: Instance) -> None:
    assert GRPC.read("api", "i", value) == expected


BAD = [
    "",
    "{",
    "null",
    "[1]",
    '"text"',
    "7",
    "NaN",
    "\ufffd\x00",
    "[" * 100_000,
    '{"address":' * 50_000,
    '{"address":[],"Addr":[]}',
    '{"address":"","Addr":""}',
    '{"address":null,"Addr":null}',
    '{"address":"\\ud800","Addr":"\\ud800"}',
    '{"address":' + "9" * 5000 + ',"Addr":1}',
]


@pytest.mark.parametrize("codec", [JSON, GRPC], ids=["json", "grpc"])
def test_what_is_no_instance_is_none_and_never_an_error(codec: Codec) -> None:
    assert [value for value in BAD if codec.read("api", "i", value) is not None] == []
    good = codec.encode(FULL) or ""
    assert [id_ for id_ in ("", "\udcff") if codec.read("api", id_, good) is not None] == []
    assert (codec.read("api", "a/b", good) is None) == (codec is JSON)


@pytest.mark.parametrize(
    "odd",
    [
        '"weight":true',
        '"weight":-1',
        '"weight":NaN',
        '"weight":1e999',
        '"weight":' + "9" * 400,
        '"weight":"heavy"',
        '"metadata":7',
        '"zone":{},"draining":1,"owner":[]',
    ],
)
@pytest.mark.parametrize("codec", [JSON, GRPC], ids=["json", "grpc"])
def test_a_field_of_the_wrong_type_has_its_default(codec: Codec, odd: str) -> None:
    value = f'{{"address":"a",{odd}}}' if codec is JSON else f'{{"Addr":"a","Metadata":{{{odd}}}}}'
    found = codec.read("api", "i", value)
    assert found is not None
    assert replace(found, metadata={}) == Instance("api", "i", "a")


def test_metadata_that_is_nested_or_half_a_character_can_be_written_again() -> None:
    found = JSON.read(
        "api", "i", '{"address":"a","metadata":{"x":{"y":[true,null]},"z":"\\ud800"}}'
    )
    assert found is not None
    assert found.metadata == {"x": '{"y":[true,null]}', "z": "?"}


def test_a_codec_of_a_users_that_raises_is_no_instance_and_one_of_an_unknown_name_is_refused() -> (
    None
):
    assert Codec(str, lambda *_: {}["x"]).read("api", "i", "") is None  # type: ignore[arg-type, return-value]
    assert Codec(str, lambda *_: "no instance").read("api", "i", "") is None  # type: ignore[arg-type, return-value]
    with (
        Client("http://127.0.0.1:9") as client,
        pytest.raises(ValueError, match="'json' or 'grpc'"),
    ):
        client.registry(codec="xml")


# -- against a real server -----------------------------------------------------------------------------


def value_at(client: Client, key: str, api: str) -> str:
    if api == "v3":
        return client.v3.kv.get(key).text  # type: ignore[union-attr]
    return json.loads(client.v2.keys.get(key).node.value)["value"]  # type: ignore[no-any-return]


def test_go_and_python_list_each_others_instances(
    client: Client, other: Client, name: str, api: str
) -> None:
    ours, reader = client.registry(name, codec="grpc"), other.registry(name, codec="grpc")
    registration = ours.register("api", "10.0.0.7:8080", weight=2)
    key = f"{name}/api/10.0.0.7:8080"
    assert value_at(other, key, api).startswith('{"Op":0,"Addr":"10.0.0.7:8080","Metadata":"')
    with reader.follow("api") as view:
        changes = view.events(timeout=10)
        go = '{"Op":0,"Addr":"10.0.0.8:8080","Metadata":null}'
        write(other, f"{name}/api/anything", go, api)
        write(other, f"{name}/api/deeper/10.0.0.9:8080", go.replace("8:", "9:"), api)
        assert [next(changes).new.address for _ in range(2)] == ["10.0.0.8:8080", "10.0.0.9:8080"]  # type: ignore[union-attr]
        assert [(i.id, i.weight) for i in reader.instances("api")] == [
            ("10.0.0.7:8080", 2),
            ("anything", 1),
            ("deeper/10.0.0.9:8080", 1),
        ]
        assert reader.instances("api") == view.instances
        assert registration.drain()
        assert next(changes).kind == "removed"
        assert [i.id for i in reader.instances("api", draining=True)] == [
            "anything",
            "deeper/10.0.0.9:8080",
        ]
        assert registration.update(draining=False, weight=4)
        again = next(changes).new
        assert again is not None
        assert (again.id, again.weight) == ("10.0.0.7:8080", 4)
        assert registration.close()
        remove(other, f"{name}/api/anything", api)
        eventually(lambda: [i.id for i in view.instances] == ["deeper/10.0.0.9:8080"])


def test_services_are_told_from_addresses_and_a_path_is_no_place(
    client: Client, name: str, api: str
) -> None:
    registry = client.registry(name, codec="grpc")
    registration = registry.register("team/api", "unix:/run/api.sock")
    registry.register("mail", "10.0.0.1:25")
    write(client, f"{name}/go/unix:/run/go.sock", '{"Op":0,"Addr":"unix:/run/go.sock"}', api)
    assert registration.instance.id == "unix:%2Frun%2Fapi.sock"
    assert registry.services() == ("go", "mail", "team/api")
    assert [i.address for i in registry.instances("team/api")] == ["unix:/run/api.sock"]


def test_a_users_own_codec_is_used_and_heals(
    client: Client, other: Client, name: str, api: str
) -> None:
    def decode(service: str, id_: str, value: str) -> Instance:
        address, owner = value.split(" ")
        return Instance(service, id_, address, owner=owner)

    codec = Codec(lambda instance: f"{instance.address} {instance.owner}", decode)
    registration = client.registry(name, codec=codec).register("api", "a:1", id="one")
    assert value_at(other, f"{name}/api/one", api) == f"a:1 {registration.instance.owner}"
    assert [i.address for i in other.registry(name, codec=codec).instances("api")] == ["a:1"]
    assert other.registry(name).instances("api") == ()
    remove(other, f"{name}/api/one", api)
    assert registration.update(address="b:2") is False
    eventually(
        lambda: [i.address for i in other.registry(name, codec=codec).instances("api")] == ["b:2"]
    )


def test_nothing_under_the_prefix_kills_a_view_or_a_list(
    make_client: Callable[..., Client], name: str, api: str
) -> None:
    client = make_client()
    with (
        client.registry(name).follow("api") as own,
        client.registry(name, codec="grpc").follow("api") as go,
    ):
        for number, value in enumerate(BAD):
            write(client, f"{name}/api/bad-{number}", value.replace("\x00", ""), api)
        write(client, f"{name}/api/binary", b"\x80\xff", api)
        write(client, f"{name}/api/huge", '{"address":"' + "a" * 600_000, api)
        if api == "v3":
            client.v3.kv.put(f"{name}/api/", '{"address":"x","Addr":"x"}')
            client.v3.kv.put(f"{name}/api/".encode() + b"\xff", '{"address":"x","Addr":"x"}')
            client.v3.kv.put(f"{name}//x", '{"address":"x","Addr":"x"}')
        write(client, f"{name}/api/good", '{"address":"a","Addr":"b","weight":true}', api)
        assert [(i.id, i.address) for i in own.wait_for(1, 5)] == [("good", "a")]
        assert [(i.id, i.address) for i in go.wait_for(1, 5)] == [("good", "b")]
        for strategy in ("random", "round_robin", "sticky", "weighted", "zone"):
            assert own.pick(strategy).id == go.pick(strategy).id == "good"  # type: ignore[arg-type]
    assert [i.id for i in client.registry(name).instances("api")] == ["good"]
    assert (
        client.registry(name).services()
        == client.registry(name, codec="grpc").services()
        == ("api",)
    )
