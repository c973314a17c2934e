"""requests: ``service://api/path``, sent to an instance that discovery knows.

``session.mount("service://", ServiceAdapter(registry))``

The algorithm
1. The service is followed from its first request on: later ones cost etcd nothing, and go on while it is away.
2. An instance is picked, and the request sent to its address, http or https as its metadata's ``scheme`` says.
3. Whatever it answers is the answer, errors of its own included. No answer is reported, so that the instance is
   left out for a while, and another one is asked: if the request was certainly not sent (no connection, or an
   address that is none), whatever the method; if it may have been, only where doing it twice is doing it once
   (GET, HEAD, OPTIONS, TRACE, PUT, DELETE) and its body can be sent again.
4. When `tries` instances have given no answer, or there is no other one, the error is the last one's, of
   requests' own kind (ConnectionError, ConnectTimeout, ReadTimeout), with what was tried.

Rules of this file
1. Errors are those of requests, for its callers know no others: what etcd had to say is the cause.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.exceptions import InvalidSchema, InvalidURL
from requests.utils import rewind_body
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from etcd_recipes.coordination.queue import LocalQueue
from etcd_recipes.core import runtime
from etcd_recipes.core.context import Context
from etcd_recipes.core.errors import EtcdRecipesError
from etcd_recipes.recipes.registry import Discovery, Instance, Registry
from etcd_recipes.recipes.registry.pick import STRATEGIES, Strategy

__all__ = ["ServiceAdapter"]

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class ServiceAdapter(BaseAdapter):
    """Sends requests for a service to its instances; for ``session.mount("service://", ...)``.

    Up to `tries` instances are asked, chosen by `strategy` (as ``view.pick``; "sticky" by the path). `scheme` is
    of instances whose metadata has none. `connect_timeout` (seconds) holds where the request has no timeout of
    its own. `http` sends, instead of a plain HTTPAdapter. The address is the request's host, unless the
    request has a Host header. Free to be used by many threads; `close`, or the session's, ends following.
    Requests to etcd: those of ``registry.follow``, once per service.

    requests drops ``params=`` for schemes that do not begin with http: mount it at ``http+service://`` as well,
    and write URLs with that, where you use them.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        strategy: Strategy = "round_robin",
        tries: int = 3,
        scheme: str = "http",
        connect_timeout: float = 3.0,
        http: BaseAdapter | None = None,
        **following: Any,
    ) -> None:
        super().__init__()
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy is one of {', '.join(STRATEGIES)}; not {strategy!r}")
        if tries < 1:
            raise ValueError(f"tries is 1 or more; got {tries}")
        self._registry = registry
        self._strategy: Strategy = strategy
        self._tries = tries
        self._scheme = scheme
        self._connect_timeout = connect_timeout
        self._http = http or HTTPAdapter()
        self._following = following  # further arguments of `registry.follow`
        self._views: dict[str, Discovery] = {}
        self._opening = LocalQueue()
        runtime.at_fork(self)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Give the answer of the first instance that gives one; requests' own errors."""
        url = urlsplit(request.url or "")
        view = self._view(url.netloc, request)
        patience = (self._connect_timeout, None) if timeout is None else timeout
        asked: dict[str, str] = {}
        attempt = 0
        while True:
            attempt += 1
            instance = self._choose(view, url, asked, request)
            try:
                answer = self._http.send(
                    self._addressed(request, url, instance),
                    stream=stream,
                    timeout=patience,
                    verify=verify,
                    cert=cert,
                    proxies=proxies,
                )
            except requests.ConnectionError as error:
                last: requests.RequestException = error
            except (requests.Timeout, InvalidSchema, InvalidURL) as error:
                last = error  # an address may be none: somebody else has written it
            else:
                view.report(instance, ok=True)
                return answer
            view.report(instance, ok=False)
            where = instance.address if instance.address.isprintable() else repr(instance.address)
            asked[instance.id] = f"{where}: {last}"
            more = attempt < self._tries and len(view.instances) > len(asked)
            if not more or not _may_go_on(request, last):
                raise type(last)(_told(url.netloc, asked), request=request) from last

    def close(self) -> None:
        """Stop following, and close the connections. It may be used again."""
        views, self._views = self._views, {}
        for view in views.values():
            view.close()
        self._http.close()

    def after_fork_in_child(self) -> None:
        """Follow anew: the views are the parent's."""
        self._views = {}
        self._opening = LocalQueue()

    def _view(self, service: str, request: requests.PreparedRequest) -> Discovery:
        if (view := self._views.get(service)) is not None:
            return view
        try:
            with self._opening.turn(service, Context()):
                view = self._views.get(service)
                if view is None:
                    view = self._views[service] = self._registry.follow(service, **self._following)
                return view
        except ValueError as error:
            raise requests.exceptions.InvalidURL(str(error), request=request) from error
        except EtcdRecipesError as error:
            raise requests.ConnectionError(
                f"service {service!r} cannot be looked up: {error}", request=request
            ) from error

    def _choose(
        self,
        view: Discovery,
        url: SplitResult,
        asked: dict[str, str],
        request: requests.PreparedRequest,
    ) -> Instance:
        try:
            chosen = view.pick(self._strategy, key=url.path)
        except EtcdRecipesError as error:
            raise requests.ConnectionError(str(error), request=request) from error
        if chosen.id not in asked:
            return chosen
        return next((each for each in view.instances if each.id not in asked), chosen)

    def _addressed(
        self, request: requests.PreparedRequest, url: SplitResult, instance: Instance
    ) -> requests.PreparedRequest:
        scheme = instance.metadata.get("scheme", self._scheme)
        if scheme not in ("http", "https", self._scheme):
            raise InvalidSchema(f"{scheme!r} is no scheme of a web service", request=request)
        copy = request.copy()
        copy.prepare_url(url._replace(scheme=scheme, netloc=instance.address).geturl(), None)
        return copy


def _may_go_on(request: requests.PreparedRequest, error: requests.RequestException) -> bool:
    """Tell whether another instance may be asked after `error` (step 3); puts the body back to its beginning."""
    if not _never_sent(error) and (request.method or "").upper() not in _IDEMPOTENT:
        return False
    if request.body is None or isinstance(request.body, str | bytes):
        return True
    if not isinstance(request._body_position, int):
        return _never_sent(error)
    try:
        rewind_body(request)
    except requests.exceptions.UnrewindableBodyError:
        return False
    return True


def _never_sent(error: requests.RequestException) -> bool:
    """Tell whether there was no connection to send anything over."""
    if isinstance(error, requests.ConnectTimeout | InvalidSchema | InvalidURL):
        return True
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)


def _told(service: str, asked: dict[str, str]) -> str:
    tried = "; ".join(asked.values())
    return f"no instance of {service!r} that was asked has answered ({len(asked)} asked): {tried}"
