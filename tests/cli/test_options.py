from __future__ import annotations

import click
import pytest
from click.testing import CliRunner, Result

from etcd_recipes.cli.options import Connection, Settings, shared_options


@click.group()
@shared_options
def group() -> None:
    pass


@group.command()
@shared_options
@click.pass_obj
def show(settings: Settings) -> None:
    connection = settings.connection()
    click.echo(f"{','.join(connection.endpoints)} ca={connection.ca} debug={settings.debug}")


def run(*args: str, env: dict[str, str] | None = None) -> Result:
    clean = {"ETCDCTL_ENDPOINTS": "", "ETCDCTL_CACERT": "", "ETCDCTL_USER": ""}
    return CliRunner().invoke(group, args, env=clean | (env or {}), obj=Settings())


@pytest.mark.parametrize(
    ("args", "environment", "said"),
    [
        (("show",), "", ""),
        (("--endpoints", "a", "show"), "", "http://a:2379"),
        (("show", "--endpoints", "a"), "", "http://a:2379"),
        (("--endpoints", "a", "show", "--endpoints", "b"), "", "http://b:2379"),
        (("show",), "e", "http://e:2379"),
        (("--endpoints", "a", "show"), "e", "http://a:2379"),
        (("show", "--endpoints", "a"), "e", "http://a:2379"),
        (("show", "--endpoints", "https://a:1,b"), "", "https://a:1,http://b:2379"),
    ],
    ids=["nothing", "before", "after", "both", "env", "before-env", "after-env", "several"],
)
def test_what_stands_later_wins_and_both_win_over_the_environment(
    args: tuple[str, ...], environment: str, said: str
) -> None:
    result = run(*args, env={"ETCDCTL_ENDPOINTS": environment})
    assert result.output == f"{said} ca=None debug=False\n"


@pytest.mark.parametrize(
    "args", [("--debug", "show"), ("show", "--debug")], ids=["before", "after"]
)
def test_debug_may_stand_before_and_after_the_command(args: tuple[str, ...]) -> None:
    assert run(*args).output.endswith("debug=True\n")


def test_an_endpoint_without_a_scheme_is_https_if_there_is_an_authority(tmp_path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    where, ca = ("--endpoints", "a,http://b:1"), ("--cacert", str(file))
    for args in ((*where, "show", *ca), (*ca, "show", *where)):
        assert run(*args).output.startswith("https://a:2379,http://b:1 ")


def test_a_file_may_come_from_the_environment(tmp_path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    assert f"ca={file}" in run("show", env={"ETCDCTL_CACERT": str(file)}).output


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--endpoints", "ftp://x", "show"), "'ftp://x' is not an http or https URL"),
        (("show", "--endpoints", ""), "no etcd endpoint given"),
        (("show", "--cacert", "/nowhere"), "'/nowhere' does not exist"),
        (("show", "--key", __file__), "--key is of no use without --cert"),
    ],
    ids=["scheme", "empty", "no-file", "key-alone"],
)
def test_a_wrong_value_is_a_usage_error(args: tuple[str, ...], sentence: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert sentence in result.output


# -- who asks, how long, and where -----------------------------------------------------------------------


def connection(*args: str, env: dict[str, str] | None = None) -> Connection:
    """Give the connection that a command line and the environment say."""
    made: list[Connection] = []
    command = shared_options(
        click.command("c")(click.pass_obj(lambda settings: made.append(settings.connection())))
    )
    result = CliRunner().invoke(command, args, env=env or {}, obj=Settings())
    assert not result.exception, result.output
    return made[0]


@pytest.mark.parametrize(
    ("args", "env"),
    [
        (("--user", "ann:pw"), {}),
        (("--user", "ann", "--password", "pw"), {}),
        (("--user", "ann", "--password-file", "FILE"), {}),
        (("--user", "ann"), {"ETCDCTL_PASSWORD": "pw"}),
        (("--password", "pw"), {"ETCDCTL_USER": "ann"}),
        ((), {"ETCDCTL_USER": "ann:pw"}),
        ((), {"ETCDCTL_USER": "ann", "ETCDCTL_PASSWORD_FILE": "FILE"}),
        (("--user", "ann:pw"), {"ETCDCTL_USER_FILE": "/nowhere", "ETCDCTL_PASSWORD": "other"}),
        (("--password-file", "FILE"), {"ETCDCTL_USER": "ann", "ETCDCTL_PASSWORD": "other"}),
    ],
)
def test_who_asks_may_be_said_in_many_ways(tmp_path, args: tuple[str, ...], env) -> None:
    file = tmp_path / "password"
    file.write_text("pw\n")
    args = tuple(each.replace("FILE", str(file)) for each in args)
    env = {k: v.replace("FILE", str(file)) if v == "FILE" else v for k, v in env.items()}
    found = connection(*args, env=env)
    assert (found.username, found.password) == ("ann", "pw")
    assert "pw" not in repr(found)


def test_an_error_names_the_option_or_the_variable_and_shows_no_password() -> None:
    by_option = run("show", "--password", "s3cret")
    assert "--password is set, and ETCDCTL_USER is not" in by_option.output
    by_variable = run("show", env={"ETCDCTL_PASSWORD": "s3cret"})
    assert "ETCDCTL_PASSWORD is set, and ETCDCTL_USER is not" in by_variable.output
    assert by_option.exit_code == by_variable.exit_code == 2
    assert "s3cret" not in by_option.output + by_variable.output
    assert "--dial-timeout='soon' is not a duration" in run("show", "--dial-timeout", "soon").output


def test_times_the_store_and_the_namespace_are_the_clients() -> None:
    words = "--dial-timeout 2s --command-timeout 500ms --api v2 --namespace prod/ --endpoints h"
    found = connection(*words.split())
    assert (found.header_timeout, found.default_timeout) == (2.0, 0.5)
    assert (found.api, found.namespace) == ("v2", "prod/")
    with found.client() as client:
        assert client.lock("x").name == "prod/x"
    with found.client(namespace="mine/") as client:
        assert client.lock("x").name == "mine/x"


def test_nobody_said_where_so_it_is_here() -> None:
    assert connection().endpoints == ()
    with connection().client() as client:
        assert client.endpoints == ("http://127.0.0.1:2379",)


def test_verification_may_be_left_out() -> None:
    assert connection().verify
    assert not connection("--insecure-skip-tls-verify").verify
    with connection("--insecure-skip-tls-verify", "--endpoints", "https://h").client():
        pass


@pytest.mark.parametrize(("patience", "timeout"), [(None, 10), (0, 10), (60, 10), (5, 5), (0.1, 2)])
def test_a_caller_with_little_time_does_not_wait_longer_for_requests(patience, timeout) -> None:
    assert Connection().within(patience).default_timeout == timeout
    assert Connection(default_timeout=1).within(patience).default_timeout == 1
