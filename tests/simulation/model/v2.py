"""The v2 API of one member: paths, query and form, and the form of an answer.

The rules
1. A request is read as a whole before it is carried out; what makes no sense is refused with index 0.
2. Writes and quorum reads are agreed on; a plain read and a wait are of what the member has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from posixpath import normpath
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from tests.simulation.model import v2errors
from tests.simulation.model.gateway import Kind
from tests.simulation.model.v2errors import V2Error
from tests.simulation.model.v2store import Event, V2Store
from tests.simulation.model.v2watch import Hub, V2Watch
from tests.simulation.model.wire import JSON_TYPE, TEXT_TYPE, Answer, Json, Request, dump

if TYPE_CHECKING:
    from tests.simulation.model.member import Member

__all__ = ["V2", "is_wait"]

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_FORM = "application/x-www-form-urlencoded"
_METHODS = ("GET", "PUT", "POST", "DELETE")


class Form:
    """What a request about keys asks for."""

    __slots__ = ("_fields", "expire", "path", "prev", "prev_exist", "refresh")

    def __init__(self, request: Request, now: float) -> None:
        path, _, query = request.path.partition("?")
        self.path = normpath(f"/1/{unquote(path.removeprefix('/v2/keys'))}")
        self._fields = _fields(request, query)
        prev_index = self._number("prevIndex", 203)
        self._number("waitIndex", 203)
        for name in ("recursive", "sorted", "wait", "dir", "quorum", "stream"):
            self.flag(name)
        if self.flag("wait") and request.method != "GET":
            raise V2Error(209, '"wait" can only be used with GET requests')
        if self._fields.get("prevValue") == "":
            raise V2Error(201, '"prevValue" cannot be empty')
        self.prev = (self._fields.get("prevValue", ""), prev_index)
        self.flag("noValueOnSuccess")
        ttl = self._number("ttl", 202) if self._fields.get("ttl") else None
        self.expire = None if ttl is None else now + ttl
        self.prev_exist = self._flag_or_none("prevExist")
        self.refresh = bool(self._flag_or_none("refresh"))
        if self.refresh and self.value:
            raise V2Error(211, "A value was provided on a refresh")
        if self.refresh and ttl is None:
            raise V2Error(212, "No TTL value set")

    @property
    def value(self) -> str:
        return self._fields.get("value", "")

    @property
    def content(self) -> str | None:
        """The value, or None for a directory."""
        return None if self.flag("dir") else self.value

    @property
    def since(self) -> int:
        return self._number("waitIndex", 203)

    def flag(self, name: str) -> bool:
        """Read a bool."""
        value = self._fields.get(name)
        if value is None or value in _FALSE:
            return False
        if value in _TRUE:
            return True
        raise V2Error(209, f'invalid value for "{name}"')

    def _flag_or_none(self, name: str) -> bool | None:
        value = self._fields.get(name)
        if value is None:
            return None
        if value not in _TRUE and value not in _FALSE:
            raise V2Error(209, f"invalid value for {name}")
        return value in _TRUE

    def _number(self, name: str, code: int) -> int:
        value = self._fields.get(name)
        if value is None:
            return 0
        if not (value.isascii() and value.isdigit() and int(value) < 2**64):
            raise V2Error(code, f'invalid value for "{name}"')
        return int(value)


def _fields(request: Request, query: str) -> dict[str, str]:
    """Give the first value of each field; those of the body come before those of the query."""
    pairs = parse_qsl(query, keep_blank_values=True) if query else []
    has_form = request.headers.get("Content-Type") == _FORM and request.method in ("PUT", "POST")
    if request.body and has_form:
        pairs = parse_qsl(request.body.decode(), keep_blank_values=True) + pairs
    return dict(reversed(pairs))


def is_wait(request: Request) -> bool:
    """Tell whether a request waits; with a quorum it does not."""
    path, _, query = request.path.partition("?")
    if request.method != "GET" or not path.startswith("/v2/keys"):
        return False
    fields = dict(parse_qsl(query))
    return fields.get("wait") in _TRUE and fields.get("quorum") not in _TRUE


class V2:
    """The v2 API of one member."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self.hub = Hub()
        self._kept: V2Store | None = None

    @property
    def store(self) -> V2Store:
        """What the member has."""
        return self._member.cluster.v2 if self._kept is None else self._kept

    def stand_still(self) -> None:
        """Keep what there is, for nothing new comes."""
        self._kept = self._member.cluster.v2.copy()

    def catch_up(self) -> None:
        """Tell those who wait what was missed."""
        kept, self._kept = self._kept, None
        if kept is not None:
            for event in [e for e in self.store.events if e.index > kept.index]:
                self.hub.deliver(event)

    # -- requests ------------------------------------------------------------------------------------------------

    def kind(self, request: Request) -> Kind:
        """Give what kind of request it is."""
        path, _, query = request.path.partition("?")
        if not path.startswith("/v2/keys"):
            return "other" if request.method == "GET" else "write"
        if request.method != "GET":
            return "write"
        if is_wait(request):
            return "watch"
        return "read" if dict(parse_qsl(query)).get("quorum") in _TRUE else "serializable"

    def answer(self, request: Request, now: float) -> Answer:
        """Carry out a request."""
        path = request.path.partition("?")[0]
        if not (path == "/v2/keys" or path.startswith("/v2/keys/")):
            return self._about_the_cluster(request, path, now)
        if request.method not in _METHODS:
            return Answer(405, TEXT_TYPE, b"Method Not Allowed\n")
        try:
            return self._keys(request, Form(request, now), now)
        except V2Error as error:
            return self._refusal(error)

    def open(
        self,
        request: Request,
        now: float,
        emit: Callable[[bytes], None],
        end: Callable[[], None],
    ) -> V2Watch | Answer:
        """Open a wait."""
        try:
            form = Form(request, now)
            if form.flag("quorum"):
                return self.answer(request, now)
            store = self.store
            since = form.since or store.index + 1
            found = store.scan(form.path, recursive=form.flag("recursive"), since=since)
        except V2Error as error:
            return self._refusal(error)
        watch = V2Watch(
            self._headers(store.index),
            emit,
            end,
            self.hub.leave,
            path=form.path,
            recursive=form.flag("recursive"),
            stream=form.flag("stream"),
            since=since,
        )
        if found is None:
            self.hub.add(watch)
        else:
            watch.tell(found)
        return watch

    # -- keys ----------------------------------------------------------------------------------------------------

    def _keys(self, request: Request, form: Form, now: float) -> Answer:
        cluster = self._member.cluster
        agreed = request.method != "GET" or form.flag("quorum")
        if agreed:
            if not self._member.has_quorum:
                raise V2Error(300, "etcdserver: request timed out", 0)
            cluster.raft_index += 1
        if request.method == "GET":
            store = cluster.v2 if agreed else self.store
            flags = {"recursive": form.flag("recursive"), "in_order": form.flag("sorted")}
            return self._success(200, store.get(form.path, now=now, **flags), store.index)
        event = self._write(request.method, form, now)
        cluster.publish_v2()
        status = 201 if event.action == "create" or _is_new(event) else 200
        shape = event.shape()
        if form.flag("noValueOnSuccess") and event.action in _WITHOUT_VALUE:
            shape = {"action": event.action}
        return self._success(status, shape, event.index)

    def _write(self, method: str, form: Form, now: float) -> Event:
        store, path = self._member.cluster.v2, form.path
        compares = form.prev != ("", 0)
        if method == "DELETE":
            if compares:
                return store.compare_and_delete(path, form.prev, now=now)
            flags = {"is_dir": form.flag("dir"), "recursive": form.flag("recursive")}
            return store.delete(path, now=now, **flags)
        if method == "POST" or form.prev_exist is False:
            unique, expire = method == "POST", form.expire
            return store.create(path, form.content, unique=unique, expire=expire, now=now)
        if compares:
            return store.compare_and_swap(
                path, form.value, form.prev, expire=form.expire, refresh=form.refresh, now=now
            )
        if form.prev_exist:
            return store.update(path, form.value, expire=form.expire, refresh=form.refresh, now=now)
        return store.set(path, form.content, expire=form.expire, refresh=form.refresh, now=now)

    # -- answers ---------------------------------------------------------------------------------------------------

    def _headers(self, index: int) -> Mapping[str, str]:
        cluster = self._member.cluster
        return {
            "Content-Type": "application/json",
            "X-Etcd-Cluster-Id": f"{cluster.cluster_id:x}",
            "X-Etcd-Index": str(index),
            "X-Raft-Index": str(cluster.raft_index),
            "X-Raft-Term": str(cluster.term),
        }

    def _success(self, status: int, shape: Json, index: int) -> Answer:
        return Answer(status, self._headers(index), dump(shape).encode() + b"\n")

    def _refusal(self, error: V2Error) -> Answer:
        headers = {
            "Content-Type": "application/json",
            "X-Etcd-Cluster-Id": f"{self._member.cluster.cluster_id:x}",
            "X-Etcd-Index": str(error.index),
        }
        body = dump(v2errors.shape(error)).encode() + b"\n"
        return Answer(v2errors.status_of(error.code), headers, body)

    # -- members ---------------------------------------------------------------------------------------------------

    def _about_the_cluster(self, request: Request, path: str, now: float) -> Answer:
        member, cluster = self._member, self._member.cluster
        headers = {"X-Etcd-Cluster-Id": f"{cluster.cluster_id:x}"}
        if request.method != "GET":
            return Answer(405, TEXT_TYPE | headers, b"Method Not Allowed\n")
        if path == "/v2/machines":
            urls = ", ".join(one.client_url for one in cluster.members)
            return Answer(200, TEXT_TYPE | headers, urls.encode())
        if path.rstrip("/") == "/v2/members":
            shape: Json = {"members": [_member(one) for one in cluster.members]}
            return Answer(200, JSON_TYPE | headers, dump(shape).encode() + b"\n")
        if path == "/v2/members/leader":
            if member.lacks_leader(now) or cluster.leader is None:
                body = dump({"message": "During election"}).encode()
                return Answer(503, JSON_TYPE | headers, body)
            leader = dump(_member(cluster.members[cluster.leader])).encode() + b"\n"
            return Answer(200, JSON_TYPE | headers, leader)
        if path == "/v2/auth/enable":
            return Answer(200, JSON_TYPE | headers, b'{"enabled":false}\n')
        return Answer(404, TEXT_TYPE | headers, b"404 page not found\n")


_WITHOUT_VALUE = ("set", "create", "update", "compareAndSwap")


def _is_new(event: Event) -> bool:
    return event.action == "set" and event.prev is None


def _member(member: Member) -> Json:
    return {
        "id": f"{member.id:x}",
        "name": member.name,
        "peerURLs": [member.peer_url],
        "clientURLs": [member.client_url],
    }
