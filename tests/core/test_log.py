"""Quiet until the application configures logging; then events with stable names and plain fields."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

import pytest

from etcd_recipes import Client, Context
from etcd_recipes.core import runtime
from etcd_recipes.core.log import event_logger, is_heard, listen
from etcd_recipes.testing import EtcdProcess
from tests.core.programs import run

USES_THE_LIBRARY = """
    import importlib, pkgutil, sys
    import etcd_recipes
    for module in pkgutil.walk_packages(etcd_recipes.__path__, "etcd_recipes."):
        if ".testing.plugin" not in module.name and ".__main__" not in module.name:
            importlib.import_module(module.name)
    from etcd_recipes import Client, EtcdRecipesError
    from etcd_recipes.core.log import event_logger

    with Client(sys.argv[1]) as client:
        client.v3.kv.put("quiet", "quiet")
        with client.lock("quiet"):
            pass
    event_logger("test").warning("test.warned", key="k")
    event_logger("test").debug("test.looked", key="k")
    try:
        Client("http://127.0.0.1:1").v3.kv.get("k")
    except EtcdRecipesError:
        pass
"""


def test_importing_and_using_the_library_prints_nothing(etcd: EtcdProcess) -> None:
    assert run(USES_THE_LIBRARY, etcd.endpoint) == ""


def test_a_failed_call_prints_nothing_either() -> None:
    program = (
        "from etcd_recipes import Client; Client('http://127.0.0.1:1').v3.kv.get('k', timeout=1)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.stdout == b""
    assert done.stderr.startswith(b"Traceback")
    assert done.stderr.splitlines()[-1].startswith(b"etcd_recipes.core.errors.ClusterError: ")


def test_importing_the_core_does_not_import_structlog() -> None:
    assert (
        run("""
        import sys
        import etcd_recipes.core.log, etcd_recipes.core.v3.api
        print("structlog" in sys.modules)
        """)
        == "False\n"
    )


def test_an_application_that_configures_logging_sees_the_events(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger="etcd_recipes"):
        event_logger("session").info("session.lost", lease="1f", since=3)
        event_logger("session").debug("session.renewed")
    (record,) = caplog.records
    assert record.name == "etcd_recipes.session"
    assert record.levelno == logging.INFO
    assert record.getMessage() == "session.lost"
    assert (record.lease, record.since) == ("1f", 3)


def test_what_the_standard_library_prints_is_the_event() -> None:
    printed = run("""
        import logging, sys
        from etcd_recipes.core.log import event_logger
        logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(name)s %(message)s")
        event_logger("lock").warning("lock.lost", key="k")
        event_logger("lock").debug("lock.looked", key="k")
        """)
    assert printed == "etcd_recipes.lock lock.lost\n"


def test_the_level_is_the_applications_to_set() -> None:
    assert logging.getLogger("etcd_recipes").level == logging.NOTSET
    handlers = logging.getLogger("etcd_recipes").handlers
    assert [type(handler) for handler in handlers] == [logging.NullHandler]


# -- listeners ---------------------------------------------------------------------------------------


def test_a_listener_hears_every_event_of_every_level_with_its_fields() -> None:
    heard: list[tuple[str, dict]] = []
    end = listen(lambda event, fields: heard.append((event, dict(fields))))
    try:
        assert is_heard()
        event_logger("test").bind(key="k").debug("test.looked", n=1)
        assert heard == [("test.looked", {"key": "k", "n": 1})]
    finally:
        end()
    end()
    event_logger("test").warning("test.warned")
    assert len(heard) == 1


def test_a_listener_that_raises_or_spoils_its_fields_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[str] = []

    def bad(event, fields) -> None:
        fields.clear()
        event_logger("test").warning("test.from_within")  # not told again, or it would never end
        raise ValueError("a defect")

    ends = [listen(bad), listen(lambda event, fields: heard.append(f"{event} {fields}"))]
    try:
        for number in range(2):
            event_logger("test").warning("test.warned", n=number)
    finally:
        for end in ends:
            end()
    assert heard == ["test.warned {'n': 0}", "test.warned {'n': 1}"]
    said = [record.getMessage() for record in caplog.records]
    assert said.count("log.listener_failed") == 1
    assert said.count("test.warned") == 2
    assert [r.n for r in caplog.records if r.getMessage() == "test.warned"] == [0, 1]


def test_no_event_is_logged_while_a_lock_of_the_library_is_held(
    etcd: EtcdProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener may wait for a lock of its own, which another thread of the application has around its calls."""
    held: list[str] = []
    inside = threading.local()
    make = runtime.new_lock

    class Watched:
        def __init__(self) -> None:
            self._lock = make()

        def __enter__(self) -> bool:
            self._lock.__enter__()
            inside.count = getattr(inside, "count", 0) + 1
            return True

        def __exit__(self, *error: object) -> None:
            inside.count -= 1
            self._lock.__exit__(*error)

    monkeypatch.setattr(runtime, "new_lock", Watched)
    events: set[str] = set()

    def look(event: str, _fields: object) -> None:
        events.add(event)
        if getattr(inside, "count", 0):
            held.append(event)

    end = listen(look)
    try:
        with Client(f"http://127.0.0.1:1,{etcd.endpoint}") as client:
            registry = client.registry("listened")
            with registry.register("api", "a:1"), registry.follow("api") as view:
                view.wait_for(1)
            with client.lock("listened", max_hold=60):
                assert client.lock("listened").acquire(timeout=0.01) is None
            with client.multi_lock(["listened-a", "listened-b"]), client.rwlock("r").read():
                pass
            term = client.election("listened").campaign()
            term.session._suspend(OSError())
            term.session.lose("for the test")
            hold = client.semaphore("listened-s", permits=2).acquire()
            client.v3.kv.delete(hold.key)
            hold.session._renew(Context(5))
            assert hold.lost.wait(5)
    finally:
        end()
    assert held == []
    assert {"session.lost", "key.gone", "hold.lost", "hold.ended", "line.answered"} <= events
