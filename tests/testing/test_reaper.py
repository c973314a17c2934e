"""No server outlives its owner, whatever the owner dies of."""

from __future__ import annotations

import signal
from pathlib import Path

from etcd_recipes.testing import EtcdProcess
from tests.processes import children, exists, is_dead
from tests.tools import child, eventually

OWNER = """
    import json, os, sys
    from etcd_recipes.testing import EtcdProcess

    with EtcdProcess() as server:
        server.kill()
        server.start(wait=False)  # the one that is there goes, not the first one
        pid = os.fork()  # a child that lives on must not keep the server alive
        if not pid:
            sys.stdin.read()
            os._exit(0)
        server.pause()  # nor does a server that is stopped live on
        print(json.dumps([server.pid, str(server.folder), pid]), flush=True)
        sys.stdin.readline()
"""


def test_a_server_and_its_folder_go_with_an_owner_that_was_killed() -> None:
    with child(OWNER) as owner:
        server, folder, grandchild = owner.read()
        assert exists(server)
        owner.signal(signal.SIGKILL)
        eventually(lambda: is_dead(server), what="the end of the server")
        eventually(lambda: not Path(folder).exists(), what="the removal of its folder")
        assert not is_dead(grandchild)
    eventually(lambda: is_dead(grandchild))


def test_the_reaper_is_told_of_an_end_and_goes_along_with_the_server() -> None:
    before = children()
    with EtcdProcess() as server:
        reaper = server._belongings._reaper
        assert reaper is not None
        told: list[int | None] = []
        tell = reaper.name
        reaper.name = lambda pid: (told.append(pid), tell(pid))  # type: ignore[method-assign]
        pid = server.pid
        server.kill()
        assert set(told) == {None}, "a pid that somebody else may have next"
        server.start(wait=False)
        assert told[-1] == server.pid != pid
    assert children() == before
