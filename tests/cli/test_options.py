from __future__ import annotations

import click
import pytest
from click.testing import CliRunner, Result

from etcd_recipes.cli.options import Settings, shared_options


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
    clean = {"ETCDCTL_ENDPOINTS": "", "ETCDCTL_CACERT": ""}
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
