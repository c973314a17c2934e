"""The v3 gateway of one member: paths, the leader that a request needs, and the form of an answer.

What a member without a leader says
    a write                     500, code 2: nobody can tell what becomes of it
    a read, a look at a lease   503, code 14
    a serializable read, status, the list of members: answered, from what the member has
    anything that asked for a leader: 503, code 14, at once
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from tests.simulation.model import errors, kv
from tests.simulation.model.errors import Refused, status_of, stream_error, unary_error
from tests.simulation.model.leases import LONGEST
from tests.simulation.model.wire import (
    JSON_TYPE,
    TEXT_TYPE,
    Answer,
    Json,
    Request,
    dump,
    flag,
    load,
    number,
    text,
)

if TYPE_CHECKING:
    from tests.simulation.model.member import Member

__all__ = ["Gateway", "Kind", "wants_leader"]

Kind = Literal["write", "read", "serializable", "watch", "other"]

_LEASE_PATHS = {
    "kv/lease/revoke": "lease/revoke",
    "kv/lease/timetolive": "lease/timetolive",
    "kv/lease/leases": "lease/leases",
}
LARGEST = 1_572_864
_LARGEST_MESSAGE = LARGEST + 524_288


def wants_leader(request: Request) -> bool:
    """Tell whether a request is to be refused by a member that has no leader."""
    headers = request.headers
    return bool(headers) and headers.get("Grpc-Metadata-hasleader") == "true"


class Gateway:
    """The v3 API of one member."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._keys = kv.Keys(member.cluster.mvcc, member.cluster.lessor)
        self._last: tuple[bytes, Json] = (b"", {})
        self._methods: dict[str, tuple[Kind, Callable[[Json, float], Json]]] = {
            "kv/put": ("write", self._put),
            "kv/range": ("read", self._range),
            "kv/deleterange": ("write", self._delete),
            "kv/txn": ("write", self._txn),
            "kv/compaction": ("write", self._compact),
            "lease/grant": ("write", self._grant),
            "lease/revoke": ("write", self._revoke),
            "lease/keepalive": ("read", self._keep_alive),
            "lease/timetolive": ("read", self._time_to_live),
            "lease/leases": ("serializable", self._leases),
            "maintenance/status": ("other", self._status),
            "cluster/member/list": ("other", self._members),
            "auth/authenticate": ("other", self._authenticate),
            "auth/status": ("other", self._auth_status),
        }
        if errors.release(member.version) == (3, 4):
            del self._methods["auth/status"]

    # -- one exchange ------------------------------------------------------------------------------------------

    def kind(self, method: str, request: Request) -> Kind:
        """Give what kind of request it is; `method` is the path below the root."""
        if method == "watch":
            return "watch"
        found = self._methods.get(method)
        kind: Kind = "other" if found is None else found[0]
        try:
            if method == "kv/range" and flag(self._body(request), "serializable"):
                return "serializable"
            if method == "kv/txn" and kv.is_read_txn(self._body(request)):
                return "serializable" if kv.is_local_txn(self._body(request)) else "read"
        except Refused:
            return "other"
        return kind

    def answer(self, method: str, request: Request, now: float) -> Answer:
        """Carry out a request."""
        found = self._methods.get(_LEASE_PATHS.get(method, method))
        if found is None:
            return self._not_found()
        if request.method != "POST":
            return Answer(405, TEXT_TYPE, b"Method Not Allowed\n")
        try:
            self.admit(request, now)
            body = self._body(request)
            if found[0] == "write" and method != "kv/txn":
                self._need_quorum(errors.DEADLINE)
            shape = found[1](body, now)
        except Refused as refused:
            return self.refusal(method, refused)
        if method == "lease/keepalive":
            return Answer(200, JSON_TYPE, dump({"result": shape}).encode() + b"\n")
        return Answer(200, JSON_TYPE, dump(shape).encode())

    def refusal(self, method: str, refused: Refused) -> Answer:
        """Give the answer that refuses."""
        code, words, version = refused.code, refused.message, self._member.version
        form = stream_error if method in ("lease/keepalive", "watch") else unary_error
        return Answer(status_of(version, code), JSON_TYPE, form(version, code, words))

    def admit(self, request: Request, now: float) -> None:
        """Refuse what is not to be begun: a foreign token, a missing leader, too many bytes."""
        headers = request.headers
        if headers:
            if "Authorization" in headers:
                raise Refused(*errors.INVALID_TOKEN)
            if wants_leader(request) and self._member.lacks_leader(now):
                raise Refused(*errors.NO_LEADER)
        size = len(request.body)
        if size > LARGEST:
            if size * 3 // 4 > _LARGEST_MESSAGE:
                words = f"grpc: received message larger than max ({size} vs. 2097152)"
                raise Refused(8, words)
            if size * 3 // 4 > LARGEST:
                raise Refused(*errors.TOO_LARGE)

    def _not_found(self) -> Answer:
        if errors.is_new(self._member.version):
            return Answer(404, JSON_TYPE, unary_error(self._member.version, 5, "Not Found"))
        return Answer(404, TEXT_TYPE, b"Not Found\n")

    def _body(self, request: Request) -> Json:
        """Read the body; that of the last request is kept, for `kind` is asked just before."""
        body, shape = self._last
        if body is not request.body or not body:
            shape = load(request.body)
            self._last = (request.body, shape)
        return shape

    def _need_quorum(self, otherwise: tuple[int, str]) -> None:
        if not self._member.has_quorum:
            raise Refused(*otherwise)

    def _at(self, *, local: bool) -> int | None:
        """Give the revision of which a read is answered, None for the newest."""
        if not local:
            self._need_quorum(errors.TIMED_OUT)
        return self._member.sight(local=local)

    def _with_header(self, found: tuple[Json, int]) -> Json:
        return {"header": self._member.header(found[1])} | found[0]

    def _headed(self) -> Json:
        return {"header": self._member.header(self._member.reach())}

    # -- keys --------------------------------------------------------------------------------------------------

    def _put(self, body: Json, _now: float) -> Json:
        found = self._keys.put(body)
        self._member.cluster.publish()
        return self._with_header(found)

    def _delete(self, body: Json, _now: float) -> Json:
        found = self._keys.delete(body)
        self._member.cluster.publish()
        return self._with_header(found)

    def _range(self, body: Json, _now: float) -> Json:
        return self._with_header(self._keys.range(body, self._at(local=flag(body, "serializable"))))

    def _txn(self, body: Json, _now: float) -> Json:
        if kv.is_read_txn(body):
            return self._with_header(self._keys.txn(body, self._at(local=kv.is_local_txn(body))))
        self._need_quorum(errors.DEADLINE)
        found = self._keys.txn(body, None)
        self._member.cluster.publish()
        return self._with_header(found)

    def _compact(self, body: Json, _now: float) -> Json:
        return {"header": self._member.header(self._keys.compact(body))}

    # -- leases ------------------------------------------------------------------------------------------------

    def _grant(self, body: Json, now: float) -> Json:
        cluster = self._member.cluster
        ttl, id_ = number(body, "TTL"), number(body, "ID")
        if ttl > LONGEST:
            raise Refused(*errors.LEASE_TOO_LARGE)
        if id_ in cluster.lessor.leases:
            raise Refused(*errors.LEASE_EXISTS)
        lease = cluster.lessor.grant(id_ or cluster.new_lease_id(), ttl, now)
        return self._headed() | {"ID": str(lease.id), "TTL": str(lease.ttl)}

    def _revoke(self, body: Json, _now: float) -> Json:
        self._member.cluster.revoke(number(body, "ID"))
        return self._headed()

    def _keep_alive(self, body: Json, now: float) -> Json:
        self._need_quorum(errors.NO_LEADER)
        cluster, id_ = self._member.cluster, number(body, "ID")
        lease = cluster.lessor.leases.get(id_)
        if lease is not None and lease.expiry <= now:
            cluster.revoke(id_)  # the server answers when it is gone
            lease = None
        shape = self._headed() | {"ID": str(id_)}
        if lease is not None:
            lease.expiry = now + lease.ttl
            shape["TTL"] = str(lease.ttl)
        return shape

    def _time_to_live(self, body: Json, now: float) -> Json:
        self._need_quorum(errors.NO_LEADER)
        id_ = number(body, "ID")
        lease = self._member.cluster.lessor.leases.get(id_)
        shape = self._headed() | {"ID": str(id_)}
        if lease is None:
            return shape | {"TTL": "-1"}
        left = int(lease.expiry - now)
        if left > 0:
            shape["TTL"] = str(left)
        shape["grantedTTL"] = str(lease.ttl)
        if flag(body, "keys") and lease.keys:
            shape["keys"] = [text(key) for key in sorted(lease.keys)]
        return shape

    def _leases(self, _body: Json, _now: float) -> Json:
        leases = sorted(self._member.cluster.lessor.leases.values(), key=lambda one: one.expiry)
        shape = self._headed()
        if leases:
            shape["leases"] = [{"ID": str(lease.id)} for lease in leases]
        return shape

    # -- the cluster --------------------------------------------------------------------------------------------

    def _status(self, _body: Json, now: float) -> Json:
        member, cluster = self._member, self._member.cluster
        raft_index = str(cluster.raft_index)
        shape = self._headed() | {"version": member.version, "dbSize": "20480"}
        lost = member.lacks_leader(now)
        if not lost and cluster.leader is not None:
            shape["leader"] = str(cluster.members[cluster.leader].id)
        shape |= {"raftIndex": raft_index, "raftTerm": str(cluster.term)}
        shape["raftAppliedIndex"] = raft_index
        if lost:
            shape["errors"] = [errors.NO_LEADER[1]]
        return shape | {"dbSizeInUse": "16384"}

    def _members(self, _body: Json, _now: float) -> Json:
        members = [
            {
                "ID": str(member.id),
                "name": member.name,
                "peerURLs": [member.peer_url],
                "clientURLs": [member.client_url],
            }
            for member in self._member.cluster.members
        ]
        return {"header": self._member.header(0), "members": members}

    def _authenticate(self, _body: Json, _now: float) -> Json:
        raise Refused(*errors.AUTH_NOT_ENABLED)

    def _auth_status(self, _body: Json, _now: float) -> Json:
        return self._headed() | {"authRevision": "1"}
