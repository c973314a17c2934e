"""The options that all commands share: where etcd is, and how much to say.

Rules of this file
1. They may stand before or after the command's name. What stands later wins, and both win over the
   environment, whose names are etcdctl's.
2. A value is checked where it is given: a wrong one is a usage error, whichever command it is for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from etcd_recipes.core.http.endpoints import parse_endpoints
from etcd_recipes.settings import ENDPOINTS, FILES

if TYPE_CHECKING:
    from etcd_recipes import Client

__all__ = ["Connection", "Settings", "shared_options"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Connection:
    """Where etcd is; `endpoints` is empty when nobody said so."""

    endpoints: tuple[str, ...] = ()
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def client(self, *, namespace: str = "", session_ttl: float = 15.0) -> Client:
        """Make a client of it; no request is sent."""
        from etcd_recipes import Client

        return Client(
            self.endpoints,
            ca=self.ca,
            cert=self.cert,
            key=self.key,
            namespace=namespace,
            session_ttl=session_ttl,
        )


@dataclass(slots=True)
class Settings:
    """What the shared options said, before and after the command's name; click's ``obj``."""

    debug: bool = False
    said: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)

    def connection(self) -> Connection:
        """Give the connection; a usage error if its options do not fit together."""
        said = self.environment | self.said
        if said.get("key") and not said.get("cert"):
            raise click.UsageError("--key is of no use without --cert")
        if "endpoints" in said:  # now, for the files may have come after them
            secure = any(said.get(name) for name in FILES)
            said["endpoints"] = parse_endpoints(said["endpoints"], secure=secure)
        return Connection(**said)


def _check_endpoints(value: str) -> None:
    try:
        parse_endpoints(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    settings = ctx.ensure_object(Settings)
    assert param.name is not None
    if param.name == "endpoints" and value is not None:
        _check_endpoints(value)
    if ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
        settings.said[param.name] = value
    elif value is not None:
        settings.environment[param.name] = value
    return value


def _remember_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
    settings = ctx.ensure_object(Settings)
    settings.debug = settings.debug or value
    return value


def _file(option: str, name: str, text: str) -> Callable[[F], F]:
    return click.option(
        option,
        name,
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        envvar=FILES[name],
        show_envvar=True,
        expose_value=False,
        callback=_remember,
        help=text,
    )


_OPTIONS = (
    click.option(
        "--endpoints",
        metavar="URL,...",
        envvar=ENDPOINTS,
        show_envvar=True,
        expose_value=False,
        callback=_remember,
        help="Where etcd is. Without a scheme: https if there is a certificate, else http.",
    ),
    _file("--cacert", "ca", "The authority that signed etcd's certificate."),
    _file("--cert", "cert", "The client's own certificate."),
    _file("--key", "key", "The key of the client's certificate."),
    click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_remember_debug,
        help="Show a traceback when something fails.",
    ),
)


def shared_options(command: F) -> F:
    """Give a command (or the group) the shared options; ``click.pass_obj`` hands it the Settings."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
