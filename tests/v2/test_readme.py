"""The README of Go's etcd client, translated line by line."""

from __future__ import annotations

import pytest

from etcd_recipes import (
    Client,
    ClusterError,
    Context,
    ContextError,
    DeadlineExceeded,
    EtcdRecipesError,
    KeyNotFound,
    ResponseError,
)
from etcd_recipes.testing import EtcdProcess
from tests.core.servers import Server, always, answer, refusing, silent


def test_its_example_of_usage(server: EtcdProcess) -> None:
    client = Client(
        [server.endpoint],
        # set timeout per request to fail fast when the target endpoint is unavailable
        header_timeout=1.0,
    )
    with client:
        keys = client.v2.keys
        # set "/foo" key with "bar" value
        response = keys.set("/foo", "bar")
        assert response.action == "set"
        # get "/foo" key's value
        response = keys.get("/foo")
        assert f"{response.node.key!r} key has {response.node.value!r} value" == (
            "'/foo' key has 'bar' value"
        )


def kind_of_error(client: Client, ctx: Context) -> str:
    """Its example of error handling: the three kinds, told apart."""
    try:
        client.v2.keys.get("/ping", ctx=ctx)
    except ContextError as error:
        # the caller's own limit: cancelled, or its deadline is over
        return f"context: {type(error).__name__}"
    except ClusterError as error:
        # each attempt has its own error
        return f"cluster: {len(error.errors)}"
    except ResponseError as error:
        # bad endpoint, or etcd's own error
        return f"response: {type(error).__name__}"
    return "none"


def test_its_example_of_error_handling_catches_each_kind(server: EtcdProcess) -> None:
    with Client(server.endpoint) as client:
        cancelled = Context()
        cancelled.cancel()
        assert kind_of_error(client, cancelled) == "context: Cancelled"
        assert kind_of_error(client, Context(5.0)) == "response: KeyNotFound"
    with Server(silent) as mute, Client(mute.endpoint, header_timeout=None) as client:
        assert kind_of_error(client, Context(0.1)) == "context: DeadlineExceeded"
    with refusing() as one, refusing() as other, Client([one, other]) as client:
        assert kind_of_error(client, Context(5.0)) == "cluster: 2"
    with Server(always(answer(b"<html>"))) as web, Client(web.endpoint) as client:
        assert kind_of_error(client, Context(5.0)) == "response: InvalidResponse"


def test_its_helpers_are_classes(server: EtcdProcess) -> None:
    with Client(server.endpoint) as client, pytest.raises(EtcdRecipesError) as raised:
        client.v2.keys.get("/is/not/there")
    assert isinstance(raised.value, KeyNotFound)
    assert issubclass(DeadlineExceeded, TimeoutError)
