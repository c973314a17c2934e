"""The options that all commands share: where etcd is, who asks, and how much to say.

Rules of this file
1. They may stand before or after the command's name. What stands later wins, and both win over the
   environment, whose names are etcdctl's.
2. A value is checked where it is given: a wrong one is a usage error, whichever command it is for.
3. There is one reader of such settings, `etcd_recipes.settings`: an option is a variable of etcdctl's
   environment that was said otherwise.
4. A password is shown by no error, no repr and no child's arguments.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click
from click.core import ParameterSource

from etcd_recipes.core.http.endpoints import parse_endpoints
from etcd_recipes.settings import ENDPOINTS, FILES, from_environment

if TYPE_CHECKING:
    from etcd_recipes import Client

__all__ = ["Connection", "Settings", "shared_options", "usage_errors"]

F = TypeVar("F", bound=Callable[..., Any])

_NOWHERE = "127.0.0.1:2379"
"""Where etcd is if nobody said so."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Make a usage error of the ValueError with which the library refuses a name or a file."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(re.sub(r"^(ca|cert|key)=", _as_option, str(error))) from error


def _as_option(found: re.Match[str]) -> str:
    return f"{_OPTION_OF[FILES[found[1]]]}="


@dataclass(frozen=True, slots=True)
class Connection:
    """Where etcd is and who asks; `endpoints` is empty when nobody said so. Times are seconds."""

    endpoints: tuple[str, ...] = ()
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    header_timeout: float | None = 1.0
    default_timeout: float = 10.0
    api: Literal["v3", "v2"] = "v3"
    namespace: str = ""
    verify: bool = True

    def client(self, *, namespace: str | None = None, session_ttl: float = 15.0) -> Client:
        """Make a client of it, with a namespace of the caller's own if there is one; no request is sent.

        A usage error if it cannot be made: a file that is no certificate, a name that cannot be sent.
        """
        from etcd_recipes import Client
        from etcd_recipes.core.http.wire import unverified_session

        with usage_errors():
            return Client(
                self.endpoints or parse_endpoints(_NOWHERE, secure=bool(self.ca or self.cert)),
                api=self.api,
                username=self.username,
                password=self.password,
                ca=self.ca,
                cert=self.cert,
                key=self.key,
                header_timeout=self.header_timeout,
                default_timeout=self.default_timeout,
                namespace=self.namespace if namespace is None else namespace,
                session_ttl=session_ttl,
                http=None if self.verify else unverified_session(),
            )

    def within(self, patience: float | None) -> Connection:
        """Give the same for a caller with so many seconds: requests take no longer, but two if they must."""
        if not patience or patience > self.default_timeout:
            return self
        return replace(self, default_timeout=min(self.default_timeout, max(patience, 2.0)))


@dataclass(slots=True)
class Settings:
    """What the shared options said, before and after the command's name; click's ``obj``."""

    debug: bool = False
    api: Literal["v3", "v2"] = "v3"
    namespace: str = ""
    said: dict[str, str] = field(default_factory=dict, repr=False)  # by variable

    def connection(self) -> Connection:
        """Give the connection; a usage error if its options do not fit together.

        With ETCDCTL_DISCOVERY_SRV and no endpoints these are asked for by DNS, now.
        """
        environ = _without_rivals(os.environ, self.said) | self.said
        if FILES["key"] in self.said and not environ.get(FILES["cert"]):
            raise click.UsageError("--key is of no use without --cert")
        try:
            found = from_environment(environ, {})
        except ValueError as error:
            raise click.UsageError(self._in_options(str(error))) from None
        options = found.options
        if found.srv is not None:
            from etcd_recipes.core.srv import discover

            srv = found.srv
            options["endpoints"] = srv.choose(discover(srv.domain, service=srv.service))
        elif not environ.get(ENDPOINTS):
            del options["endpoints"]  # the reader's own idea
        return Connection(**options, api=self.api, namespace=self.namespace, verify=found.verify)

    def _in_options(self, sentence: str) -> str:
        """Name the option where the sentence names a variable that an option has said."""

        def name(found: re.Match[str]) -> str:
            return _OPTION_OF[found[0]] if found[0] in self.said else found[0]

        return re.sub(r"ETCDCTL_\w+", name, sentence)


def _without_rivals(environ: Any, said: dict[str, str]) -> dict[str, str]:
    """Give the environment without what says the same as an option does, in another way."""
    rivals: set[str] = set()
    if ENDPOINTS in said:
        rivals |= {"ETCDCTL_DISCOVERY_SRV"}
    if _USER in said:
        rivals |= {f"{_USER}_FILE"}
        if ":" in said[_USER]:
            rivals |= {_PASSWORD, _PASSWORD_FILE}
    if said.keys() & {_PASSWORD, _PASSWORD_FILE}:
        rivals |= {_PASSWORD, _PASSWORD_FILE}
    return {name: value for name, value in environ.items() if name not in rivals}


_USER = "ETCDCTL_USER"
_PASSWORD = "ETCDCTL_PASSWORD"  # noqa: S105 (the name of a variable)
_PASSWORD_FILE = "ETCDCTL_PASSWORD_FILE"  # noqa: S105 (the same)

_VARIABLE = {
    "endpoints": ENDPOINTS,
    **FILES,
    "user": _USER,
    "password": _PASSWORD,
    "password_file": _PASSWORD_FILE,
    "dial_timeout": "ETCDCTL_DIAL_TIMEOUT",
    "command_timeout": "ETCDCTL_COMMAND_TIMEOUT",
    "insecure_skip_tls_verify": "ETCDCTL_INSECURE_SKIP_TLS_VERIFY",
}
"""The variable that each option's value stands in for."""

_OPTION_OF = {variable: f"--{name.replace('_', '-')}" for name, variable in _VARIABLE.items()} | {
    FILES["ca"]: "--cacert"
}


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
        settings.said[_VARIABLE[param.name]] = "true" if value is True else value
    return value


def _remember_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
    settings = ctx.ensure_object(Settings)
    settings.debug = settings.debug or value
    return value


def _remember_plain(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Remember what is no variable of etcdctl's."""
    if value is not None:
        setattr(ctx.ensure_object(Settings), param.name or "", value)
    return value


def _text(option: str, name: str, metavar: str, text: str) -> Callable[[F], F]:
    return click.option(
        option,
        name,
        metavar=metavar,
        expose_value=False,
        callback=_remember,
        help=f"{text}  [env var: {_VARIABLE[name]}]",
    )


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
    _text("--user", "user", "NAME[:PASSWORD]", "Who asks."),
    _text("--password", "password", "TEXT", "Its password; others can see it in the process list."),
    _text(
        "--password-file", "password_file", "FILE", "A file with the password, which they cannot."
    ),
    _text(
        "--dial-timeout", "dial_timeout", "TIME", "How long one endpoint may keep silent, as 2s."
    ),
    _text("--command-timeout", "command_timeout", "TIME", "How long one request may take, as 5s."),
    click.option(
        "--insecure-skip-tls-verify",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        help="Take whatever answers over TLS for etcd.",
    ),
    click.option(
        "--api",
        type=click.Choice(["v3", "v2"]),
        expose_value=False,
        callback=_remember_plain,
        help="The store to use, v3 if not said; the two do not see each other.",
    ),
    click.option(
        "--namespace",
        metavar="TEXT",
        expose_value=False,
        callback=_remember_plain,
        help="Put in front of all names, as it stands.",
    ),
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
