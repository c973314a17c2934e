"""What etcdctl's environment and a client's URL mean. Pure: no client is made, no server is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from etcd_recipes import Client, settings
from etcd_recipes.core import srv
from etcd_recipes.settings import Srv

LOCAL = ("http://127.0.0.1:2379",)


def env(overrides: dict[str, Any] | None = None, **variables: str) -> settings.Settings:
    environ = {f"ETCDCTL_{name}": value for name, value in variables.items()}
    return settings.from_environment(environ | {"PATH": "/bin"}, overrides or {})


def options(overrides: dict[str, Any] | None = None, **variables: str) -> dict[str, Any]:
    return env(overrides, **variables).options


# -- the environment: endpoints ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "endpoints"),
    [
        ({}, LOCAL),
        ({"ENDPOINTS": ""}, LOCAL),
        ({"ENDPOINTS": "a,b:1"}, ("http://a:2379", "http://b:1")),
        ({"ENDPOINTS": "https://a:1, http://b:2"}, ("https://a:1", "http://b:2")),
        ({"ENDPOINTS": "a,http://b:1", "CACERT": "f"}, ("https://a:2379", "http://b:1")),
        ({"CACERT": "f"}, ("https://127.0.0.1:2379",)),
        ({"CERT": "f", "KEY": "k"}, ("https://127.0.0.1:2379",)),
        ({"CACERT": "f", "INSECURE_TRANSPORT": "true"}, ("https://127.0.0.1:2379",)),
        ({"INSECURE_TRANSPORT": "false"}, ("https://127.0.0.1:2379",)),
        ({"INSECURE_TRANSPORT": "1"}, LOCAL),
        ({"INSECURE_SKIP_TLS_VERIFY": "true"}, LOCAL),
        ({"ENDPOINTS": "[::1]", "CACERT": "f"}, ("https://[::1]:2379",)),
    ],
)
def test_endpoints_are_read_as_etcdctl_reads_them(
    variables: dict[str, str], endpoints: tuple[str, ...]
) -> None:
    assert options(**variables)["endpoints"] == endpoints


def test_a_certificate_that_is_an_argument_makes_a_bare_endpoint_https_as_well() -> None:
    assert options({"ca": "f"}, ENDPOINTS="a")["endpoints"] == ("https://a:2379",)


def test_discovery_wins_over_endpoints_and_endpoints_of_the_caller_win_over_it() -> None:
    found = env(ENDPOINTS="a", DISCOVERY_SRV="example.com", DISCOVERY_SRV_NAME="blue")
    assert (found.srv, "endpoints" in found.options) == (Srv("example.com", "blue"), False)
    found = env({"endpoints": "b"}, DISCOVERY_SRV="example.com")
    assert (found.srv, found.options["endpoints"]) == (None, "b")


def test_discovery_may_be_told_to_leave_out_what_is_not_tls() -> None:
    srv = env(DISCOVERY_SRV="example.com", INSECURE_DISCOVERY="false").srv
    assert srv is not None
    assert srv.choose(("https://a:1", "http://b:1")) == ("https://a:1",)
    with pytest.raises(ValueError, match="ETCDCTL_INSECURE_DISCOVERY"):
        srv.choose(("http://b:1",))
    assert Srv("example.com").choose(("http://b:1",)) == ("http://b:1",)


# -- the environment: files, times, verification ---------------------------------------------------------


def test_files_become_arguments() -> None:
    found = options(CACERT="a", CERT="b", KEY="c")
    assert {name: found[name] for name in ("ca", "cert", "key")} == {
        "ca": "a",
        "cert": "b",
        "key": "c",
    }


def test_verification_is_left_out_only_where_nobody_gave_something_to_verify_with() -> None:
    found = env(INSECURE_SKIP_TLS_VERIFY="true", CACERT="f")
    assert (found.verify, "ca" in found.options) == (False, False)
    assert found.options["endpoints"] == ("https://127.0.0.1:2379",)
    assert env({"ca": "mine"}, INSECURE_SKIP_TLS_VERIFY="true").verify
    assert env({"http": object()}, INSECURE_SKIP_TLS_VERIFY="true").verify
    assert env(INSECURE_SKIP_TLS_VERIFY="false").verify
    assert env().verify


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5.0),
        ("1m30s", 90.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("2h45m", 9900.0),
        ("100us", 1e-4),
        ("100µs", 1e-4),
        ("7ns", 7e-9),
        ("+3s", 3.0),
        ("0", 0.0),
        ("0s", 0.0),
    ],
)
def test_times_are_durations_as_go_writes_them(text: str, seconds: float) -> None:
    assert options(COMMAND_TIMEOUT=text)["default_timeout"] == pytest.approx(seconds)


def test_the_dial_timeout_is_that_of_an_attempt_and_zero_is_none() -> None:
    assert options(DIAL_TIMEOUT="2s")["header_timeout"] == 2.0
    assert options(DIAL_TIMEOUT="0s")["header_timeout"] is None
    assert "header_timeout" not in options()


# -- the environment: who --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "who"),
    [
        ({"USER": "ann:s3:cret"}, ("ann", "s3:cret")),
        ({"USER": "ann", "PASSWORD": "s3cret"}, ("ann", "s3cret")),
        ({"USER": "ann:x", "PASSWORD": "s3cret"}, ("ann:x", "s3cret")),
        ({"USER": "ann:"}, ("ann", "")),
    ],
)
def test_the_user_and_the_password(variables: dict[str, str], who: tuple[str, str]) -> None:
    found = options(**variables)
    assert (found["username"], found["password"]) == who


def test_secrets_may_stand_in_files(tmp_path: Path) -> None:
    password, user = tmp_path / "password", tmp_path / "user"
    password.write_text("s3cret \n")
    user.write_text("ann:s3cret\r\n")
    found = options(USER="ann", PASSWORD_FILE=str(password))
    assert (found["username"], found["password"]) == ("ann", "s3cret ")
    found = options(USER_FILE=str(user))
    assert (found["username"], found["password"]) == ("ann", "s3cret")


def test_a_password_of_the_callers_own_completes_the_user_and_a_user_replaces_both() -> None:
    found = options({"password": "mine"}, USER="ann")
    assert (found["username"], found["password"]) == ("ann", "mine")
    found = options({"username": "bob", "password": "mine"}, USER="ann:x", PASSWORD="y")
    assert (found["username"], found["password"]) == ("bob", "mine")


def test_what_the_caller_says_wins_even_over_nonsense() -> None:
    mine = {"endpoints": "a", "default_timeout": 3.0, "header_timeout": 1.0}
    found = options(mine, ENDPOINTS="ftp://x", COMMAND_TIMEOUT="soon", DIAL_TIMEOUT="later")
    assert found == mine


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"ENDPOINTS": "ftp://x"}, "ETCDCTL_ENDPOINTS: 'ftp://x' is not an http or https URL"),
        ({"ENDPOINTS": " , "}, "ETCDCTL_ENDPOINTS: no etcd endpoint given"),
        ({"ENDPOINTS": "http://u:s3cret@h:1"}, "ETCDCTL_ENDPOINTS: credentials do not belong"),
        ({"COMMAND_TIMEOUT": "5"}, "ETCDCTL_COMMAND_TIMEOUT='5' is not a duration"),
        ({"COMMAND_TIMEOUT": "-5s"}, "ETCDCTL_COMMAND_TIMEOUT='-5s' is not a duration"),
        ({"DIAL_TIMEOUT": "5 s"}, "ETCDCTL_DIAL_TIMEOUT='5 s' is not a duration"),
        ({"DIAL_TIMEOUT": "5sx"}, "ETCDCTL_DIAL_TIMEOUT='5sx' is not a duration"),
        ({"INSECURE_TRANSPORT": "yes"}, "ETCDCTL_INSECURE_TRANSPORT='yes' is neither"),
        ({"INSECURE_SKIP_TLS_VERIFY": "y"}, "ETCDCTL_INSECURE_SKIP_TLS_VERIFY='y' is neither"),
        ({"USER": "s3cret"}, "ETCDCTL_USER has no password"),
        ({"PASSWORD": "s3cret"}, "ETCDCTL_PASSWORD is set, and ETCDCTL_USER is not"),
        (
            {"USER": "a", "PASSWORD": "s3cret", "PASSWORD_FILE": "/x"},
            "ETCDCTL_PASSWORD and ETCDCTL_PASSWORD_FILE are both set",
        ),
        (
            {"USER": "a", "PASSWORD_FILE": "/nowhere"},
            "ETCDCTL_PASSWORD_FILE='/nowhere' cannot be read: No such file",
        ),
    ],
)
def test_an_error_names_the_variable_and_shows_no_secret(
    variables: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ValueError, match="ETCDCTL_") as raised:
        env(**variables)
    assert sentence in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_settings_do_not_show_the_password() -> None:
    assert "s3cret" not in repr(env(USER="ann:s3cret"))


# -- the URL ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("etcd://h", {"endpoints": ("http://h:2379",)}),
        ("ETCDS://h", {"endpoints": ("https://h:2379",)}),
        ("etcd://h1:1,h2/", {"endpoints": ("http://h1:1", "http://h2:2379")}),
        ("etcd://[::1]:1,[::2]", {"endpoints": ("http://[::1]:1", "http://[::2]:2379")}),
        (
            "etcd://user:pw@h1:2379,h2:2379/namespace?timeout=5",
            {
                "endpoints": ("http://h1:2379", "http://h2:2379"),
                "username": "user",
                "password": "pw",
                "namespace": "namespace/",
                "default_timeout": 5.0,
            },
        ),
        (
            "etcd://a%3Ab:p%40%2F%3F%23%25:w+@h",
            {"endpoints": ("http://h:2379",), "username": "a:b", "password": "p@/?#%:w+"},
        ),
        ("etcd://ann@h", {"endpoints": ("http://h:2379",), "username": "ann"}),
        ("etcd://ann:@h", {"endpoints": ("http://h:2379",), "username": "ann", "password": ""}),
        ("etcd://h/a/b%20c/", {"endpoints": ("http://h:2379",), "namespace": "a/b c/"}),
        ("etcd://h//a", {"endpoints": ("http://h:2379",), "namespace": "/a/"}),
        (
            "etcds://h?ca=/a%20b.pem&cert=/c+d&key=/k",
            {"endpoints": ("https://h:2379",), "ca": "/a b.pem", "cert": "/c+d", "key": "/k"},
        ),
        (
            "etcd://h?timeout=0.5&header_timeout=2&ttl=30&api=v2&selection=leader",
            {
                "endpoints": ("http://h:2379",),
                "default_timeout": 0.5,
                "header_timeout": 2.0,
                "session_ttl": 30.0,
                "api": "v2",
                "selection": "leader",
            },
        ),
    ],
)
def test_what_a_url_means(url: str, expected: dict[str, Any]) -> None:
    assert settings.from_url(url) == expected


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://u:s3cret@h", "begins with etcd://"),
        ("u:s3cret@h", "begins with etcd://"),
        ("etcd://", "empty host"),
        ("etcd:///ns", "empty host"),
        ("etcd://u:s3cret@", "empty host"),
        ("etcd://u:s3cret@h,,g", "empty host"),
        ("etcd://u:s3cret", "host 'u' or its port"),
        ("etcd://u:s3cret,h:1", "host 'u' or its port"),
        ("etcd://h:99999999", "host 'h' or its port"),
        ("etcd://::1", "its port is not valid"),
        ("etcd://[::1]:s3cret", r"host '\[::1\]' or its port"),
        ("etcd://u:s3/cret@h", "%2F"),
        ("etcd://u:s3?cret@h", "%3F"),
        ("etcd://u:s3cret@x@h/a@b", "%40"),
        ("etcd://u:s3#cret@h", "%23"),
        ("etcd://:s3cret@h", "no user"),
        ("etcd://u:s3cret%ff@h", "the password in the URL is not UTF-8"),
        ("etcd://u:s3cret@h?nope=1", "no option 'nope'; there are timeout, header_timeout, ttl"),
        ("etcd://u:s3cret@h?timeout=1&timeout=2", "option 'timeout' is there twice"),
        ("etcd://u:s3cret@h?timeout=soon", "option 'timeout' is a number of seconds"),
        ("etcd://u:s3cret@h?timeout=", "option 'timeout' is a number of seconds"),
        ("etcd://u:s3cret@h?ttl=-1", "option 'ttl' is a number of seconds"),
        ("etcd://u:s3cret@h?ttl=nan", "option 'ttl' is a number of seconds"),
        ("etcd://u:s3cret@h?ttl=inf", "option 'ttl' is a number of seconds"),
        ("etcds://u:s3cret@h?ca=", "option 'ca' is empty"),
        ("etcd://u:s3cret@h?ca=/x", "option 'ca' is of no use without TLS"),
    ],
)
def test_a_url_that_is_wrong_is_a_value_error_that_shows_no_password(
    url: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence) as raised:
        settings.from_url(url)
    assert "s3" not in str(raised.value)
    assert "cret" not in str(raised.value)
    assert raised.value.__cause__ is None


# -- the client ------------------------------------------------------------------------------------------


class Given(Client):
    """A client that only tells what it was given."""

    def __init__(self, **options: Any) -> None:
        self.given = options


def test_a_client_of_the_environment_is_given_what_stands_there_and_what_the_caller_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environ = {"ETCDCTL_ENDPOINTS": "a", "ETCDCTL_USER": "ann:s3cret"}
    expected = {"endpoints": ("http://a:2379",), "username": "ann", "password": "s3cret"}
    assert Given.from_env(environ).given == expected
    given = Given.from_env(environ, api="v2", default_timeout=3.0).given
    assert given == expected | {"api": "v2", "default_timeout": 3.0}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert Given.from_env().given == expected


def test_a_client_of_a_domain_asks_the_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def discover(domain: str, **options: object) -> tuple[str, ...]:
        asked.append((domain, options))
        return ("https://a:1", "http://b:1")

    monkeypatch.setattr(srv, "discover", discover)
    environ = {"ETCDCTL_DISCOVERY_SRV": "example.com", "ETCDCTL_COMMAND_TIMEOUT": "3s"}
    assert Given.from_env(environ).given["endpoints"] == ("https://a:1", "http://b:1")
    assert asked == [("example.com", {"service": "", "timeout": 3.0})]
    environ["ETCDCTL_INSECURE_DISCOVERY"] = "false"
    assert Given.from_env(environ).given["endpoints"] == ("https://a:1",)
    assert Given.from_env(environ, endpoints="c").given["endpoints"] == "c"
    assert len(asked) == 2


def test_a_client_of_a_url_is_given_what_stands_there_and_what_the_caller_says() -> None:
    given = Given.from_url("etcd://ann:s3cret@h/ns?timeout=5", default_timeout=1.0).given
    assert given == {
        "endpoints": ("http://h:2379",),
        "username": "ann",
        "password": "s3cret",
        "namespace": "ns/",
        "default_timeout": 1.0,
    }


def test_a_client_shows_no_password() -> None:
    with Client.from_url("etcd://ann:s3cret@h") as client:
        assert "s3cret" not in repr(client)
