"""Quiet until the application configures logging; then events with stable names and plain fields."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from etcd_recipes.core.log import event_logger
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
