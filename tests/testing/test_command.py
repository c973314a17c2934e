from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from etcd_recipes.testing.command import Options, Seat, Tls, arguments, environment

SEAT = Seat("m1", 20001, 20002, (("m0", 20000), ("m1", 20002)), "token")


def flags(version: tuple[int, int, int], **options) -> list[str]:
    return arguments(Options(**options), SEAT, Path("data"), version)


def test_a_member_knows_its_place_and_its_peers() -> None:
    given = flags((3, 5, 1))
    assert "--listen-client-urls=http://127.0.0.1:20001" in given
    assert "--initial-cluster=m0=http://127.0.0.1:20000,m1=http://127.0.0.1:20002" in given


def test_timings_are_milliseconds() -> None:
    given = flags((3, 5, 1), heartbeat=20, election_timeout=200)
    assert {"--heartbeat-interval=20", "--election-timeout=200"} <= set(given)


@pytest.mark.parametrize(("version", "known"), [((3, 4, 23), False), ((3, 5, 0), True)])
def test_fsync_is_skipped_where_the_server_can(
    version: tuple[int, int, int], *, known: bool
) -> None:
    assert ("--unsafe-no-fsync" in flags(version)) is known


def test_v2_is_refused_for_a_server_without_it() -> None:
    assert "--enable-v2" in flags((3, 5, 1), enable_v2=True)
    with pytest.raises(ValueError, match=r"etcd 3\.6\.0 has no v2 API"):
        flags((3, 6, 0), enable_v2=True)


def test_extra_arguments_come_last_so_that_they_win() -> None:
    assert flags((3, 5, 1), extra_args=("--log-level=info",))[-1] == "--log-level=info"


def test_the_users_etcd_settings_do_not_reach_the_server() -> None:
    inherited = {"ETCD_NAME": "prod", "ETCDCTL_ENDPOINTS": "x", "PATH": "/bin"}
    assert environment(inherited) == {"ETCDCTL_ENDPOINTS": "x", "PATH": "/bin"}


def test_a_server_with_tls_has_whole_paths_and_wants_certificates_only_if_it_is_told_to() -> None:
    tls = Tls(ca="ca.pem", cert="/x/cert.pem", key="/x/key.pem")
    given = set(flags((3, 5, 1), tls=tls))
    assert {"--cert-file=/x/cert.pem", "--key-file=/x/key.pem"} <= given
    assert not [flag for flag in given if "trusted-ca" in flag or "client-cert-auth" in flag]
    given = set(flags((3, 5, 1), tls=replace(tls, client_auth=True)))
    assert {f"--trusted-ca-file={Path.cwd() / 'ca.pem'}", "--client-cert-auth=true"} <= given
