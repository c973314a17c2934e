"""Applications under uvicorn, two processes of them; and each part with a real election."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from etcd_recipes import Client
from etcd_recipes.contrib.asgi import HealthApp, Leader, LeaderMiddleware, leader_lifespan
from etcd_recipes.testing import EtcdProcess
from tests.tools import child, eventually

APP = """
    import asyncio, json, sys
    import uvicorn
    from etcd_recipes import Client
    from etcd_recipes.contrib.asgi import HealthApp, Leader, LeaderMiddleware

    endpoint, name, api, port = sys.argv[1:]

    async def work(term):
        print(json.dumps(["begins", term.token]), flush=True)
        try:
            await asyncio.sleep(3600)
        finally:
            print(json.dumps(["ends", term.is_held]), flush=True)

    leader = Leader(Client(endpoint, api=api, session_ttl=2).election(name), work)
    app = LeaderMiddleware(HealthApp(leader), leader)
    uvicorn.run(app, port=int(port), log_level="critical", lifespan="on")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.mark.only_v3
def test_of_two_servers_one_leads_and_a_shutdown_hands_over_when_the_work_has_ended(
    etcd: EtcdProcess, client: Client, name: str, api: str
) -> None:
    ports = free_port(), free_port()
    election = client.election(name)
    with child(APP, etcd.endpoint, name, api, str(ports[0])) as first:
        assert first.read()[0] == "begins"
        with child(APP, etcd.endpoint, name, api, str(ports[1])) as second:
            eventually(lambda: len(election.candidates()) == 2, 10)
            eventually(lambda: all(status(port, "/healthz") == 200 for port in ports), 10)
            assert [status(port, "/leader") for port in ports] == [200, 503]
            assert status(ports[0], "/other") == 404
            first.signal(signal.SIGTERM)
            assert first.read() == ["ends", True]  # before it was resigned
            assert second.read()[0] == "begins"
            assert status(ports[1], "/leader") == 200


def answer(app, path: str, root: str = "") -> tuple[int, dict]:
    sent = []

    async def send(message) -> None:
        sent.append(message)

    async def receive():
        raise AssertionError

    scope = {"type": "http", "path": root + path, "root_path": root}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_loss_cancels_the_work_and_the_next_term_begins_it_anew(
    client: Client, name: str
) -> None:
    said: list[str] = []

    async def work(term) -> None:
        said.append(f"begins {len(said)}")
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            said.append("ends")

    async def main() -> None:
        lifespan = leader_lifespan(client.election(name), work)
        async with lifespan(None) as state:
            leader = state["leader"]
            await until(lambda: said)
            term = leader.term
            assert leader.is_leader
            term.session.lose("as if it had expired")
            assert not leader.is_leader
            await until(lambda: len(said) == 3)
            assert said == ["begins 0", "ends", "begins 2"]
            assert leader.is_healthy
            assert leader.term.token > term.token
            assert answer_in(HealthApp(leader), "/leader") == 200
        assert said[-1] == "ends"
        assert not leader.is_leader
        assert client.election(name).leader() is None

    def answer_in(app, path: str) -> int:
        return app._answer(path)[0]

    asyncio.run(main())


def test_work_that_fails_ends_the_campaign_and_the_liveness_probe_says_so(
    client: Client, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(term) -> None:
        raise ValueError("a defect")

    leader = Leader(client.election(name), work)
    health = HealthApp(leader)

    async def main() -> None:
        async with leader.lifespan():
            await until(lambda: leader.error is not None)
            await until(lambda: not leader.is_healthy)

    asyncio.run(main())
    assert answer(health, "/healthz", root="/health") == (503, {"healthy": False})
    assert isinstance(leader.error, ValueError)
    assert "asgi.campaign_ended" in caplog.text
    assert client.election(name).leader() is None
    with pytest.raises(TypeError, match="coroutine"):
        Leader(client.election(name), print)


def test_a_lease_that_nobody_looks_after_is_unhealthy_and_one_that_etcd_cannot_renew_is_not(
    client: Client, name: str
) -> None:
    leader = Leader(client.election(name))

    async def main() -> None:
        async with leader.lifespan():
            await until(lambda: leader.is_leader)
            session = leader.term.session
            session._suspend(OSError("no etcd"))
            assert leader.is_healthy
            before, session._deadline = session._deadline, session._deadline - 60
            assert not leader.is_healthy  # its keeper should have noticed
            assert not leader.is_leader
            session._deadline = before
            assert leader.is_healthy

    asyncio.run(main())


@pytest.mark.parametrize("own", [True, False], ids=["with a lifespan", "without"])
def test_the_middleware_wraps_the_applications_lifespan(
    client: Client, name: str, own: bool
) -> None:
    log: list[object] = []

    async def app(scope, receive, send) -> None:
        log.append(scope["state"]["leader"])
        if not own:
            raise ValueError("no lifespan here")
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        assert leader._thread is not None  # still campaigning
        await send({"type": "lifespan.shutdown.complete"})

    leader = Leader(client.election(name))

    async def main() -> None:
        messages = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive():
            return {"type": next(messages)}

        async def send(message) -> None:
            log.append(message["type"])
            assert (leader._thread is None) == (message["type"] == "lifespan.shutdown.complete")

        await LeaderMiddleware(app, leader)({"type": "lifespan"}, receive, send)

    asyncio.run(main())
    assert log == [leader, "lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert leader._thread is None
