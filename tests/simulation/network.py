"""The simulated network: bytes take time, get lost, come late, and come after everybody has given up on them.

Between a process and a member lies a link, each way of which may be cut. What was sent over a cut link is not
gone: the systems at both ends send it again, so it may well arrive when the link is whole again, and be carried
out, long after its sender has closed the connection.

What may happen to one request, by the weather (a probability for each)
    request lost        never arrives, and nothing tells
    request reset       never arrives; the connection is reset
    reply lost          carried out; silence
    reply reset         carried out; the connection is reset
    reply late          carried out; the answer takes seconds
    reply slow          carried out; the answer takes nearly as long as anybody waits for it
    write late          carried out seconds later, whoever has sent it a second time meanwhile
    answer cut          the body stops in the middle, and the connection with it
    answer half         a proxy gives half of the body for a whole one
    said to have failed carried out, but the member says that it does not know (503 with 14, 500 with 2; 300 on v2)
    said to have failed, not carried out
And to one stream: silent; ended without a word; cut in the middle of a message; its last events once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from etcd_recipes.core.http.action import Action
from tests.simulation.members import Host, Members
from tests.simulation.model import Answer, Request
from tests.simulation.scheduler import Process, Scheduler
from tests.simulation.wire import Limit, Pipe

__all__ = ["Link", "Network", "Weather"]

SYN = (1.0, 3.0, 7.0, 15.0)
"""Seconds after which a connection that does not come about is tried again by the system."""


KEEP_ALIVE = 19.0
"""Seconds of silence after which the system finds that nobody is at the other end (see `core.http.connection`)."""


class Weather:
    """How often each mishap befalls a request or a stream; all zero is a fine day."""

    def __init__(self) -> None:
        self.unary: dict[str, float] = {}
        self.rough = 0.0
        self.streams: dict[str, float] = {}
        self.slow = 1.0  # how many times longer everything takes

    def clear(self) -> None:
        self.unary, self.streams, self.rough, self.slow = {}, {}, 0.0, 1.0


class Link:
    """The way between a process and a member: what is cut, and what waits for it to be whole."""

    def __init__(self) -> None:
        self.forth = True
        self.back = True
        self.changes = 0  # how often it was cut or mended
        self.held: list[tuple[Any, ...]] = []


class Network:
    """Carries what a process sends to a member, and back; see the module's docstring."""

    def __init__(self, scheduler: Scheduler, members: Members, faults: Counter[str]) -> None:
        self.scheduler = scheduler
        self.members = members
        self.faults = faults
        self.chance = scheduler.chance
        self.weather = Weather()
        self.requests = 0
        self._links: dict[tuple[int, int], Link] = {}
        self._pipes = 0
        self._pace = 0.0004 + self.chance.random() ** 3 * 0.01
        self._open: dict[int, dict[int, Pipe]] = {}  # by process: its pipes, by number
        self._last_words: dict[int, Callable[[], None]] = {}  # by process: what comes after it
        members.network = self

    # -- who is where ----------------------------------------------------------------------------------------

    def host_of(self, endpoint: str) -> int:
        return int(endpoint.rpartition("m")[2].partition(":")[0])

    def endpoint(self, host: int) -> str:
        return f"http://m{host}:2379"

    @property
    def endpoints(self) -> list[str]:
        return [self.endpoint(host.number) for host in self.members.hosts]

    def epoch(self, host: int) -> int:
        return self.members.hosts[host].epoch

    def link(self, process: Process, host: int) -> Link:
        key = (process.number, host)
        link = self._links.get(key)
        if link is None:
            link = self._links[key] = Link()
        return link

    def pipe(self, process: Process, host: int) -> Pipe:
        self._pipes += 1
        pipe = Pipe(self, process, host, self._pipes)
        self._open.setdefault(process.number, {})[pipe.number] = pipe
        return pipe

    def _trip(self) -> float:
        luck = self.chance.random()
        stretch = 0.5 + luck if luck < 0.95 else 1.0 + (luck - 0.95) * 400
        return self._pace * stretch * self.weather.slow

    # -- from the client -------------------------------------------------------------------------------------

    def connect(self, pipe: Pipe, limit: Limit) -> None:
        """Take the time that a connection takes; ConnectionRefusedError, or TimeoutError by `limit`."""
        began, tries = self.scheduler.time, iter(SYN)
        pipe.epoch = -1
        while True:
            pipe.wait_for(limit, 2 * self._trip())
            link, host = self.link(pipe.process, pipe.host), self.members.hosts[pipe.host]
            if link.forth and link.back:
                if host.state == "down" or self._befalls("refused"):
                    raise ConnectionRefusedError
                pipe.epoch = host.epoch
                return
            pipe.wait_for(limit, max(0.0, began + next(tries, 1e6) - self.scheduler.time))

    def send(self, pipe: Pipe, action: Action) -> None:
        """Send a request on its way."""
        self.requests += 1
        pipe.what = action.what or action.path
        request = Request(action.method, action.path, action.body, action.headers)
        fate = self._fate(request, pipe)
        if (trace := self.scheduler.trace) is not None:
            trace(
                f"{pipe.process} > m{pipe.host} #{pipe.number} {action.path} {action.body!r} {fate or ''}"
            )
        if fate == "request lost":
            pipe.silenced = True
        elif fate == "request reset":
            self.scheduler.after(self._trip(), self._reset, pipe)
        elif fate == "write late":
            late = self.chance.random() ** 2 * self.chance.choice((2.0, 8.0, 30.0))
            pipe.silenced = self.chance.random() < 0.8
            self.scheduler.after(late, self._arrive, pipe, request, "")
        else:
            self.scheduler.after(self._trip(), self._arrive, pipe, request, fate)

    def _fate(self, request: Request, pipe: Pipe) -> str:
        number = pipe.process.number
        if number in self._last_words and renews(request):
            self.scheduler.after(1.2, self._last_words.pop(number))
            return "reply slow"
        weather = self.weather
        if not weather.rough or self.chance.random() >= weather.rough:
            return ""
        kinds = weather.unary
        fate = self.chance.choices(list(kinds), list(kinds.values()))[0]
        kind = self.members.kind(pipe.host, request)
        if fate == "write late" and kind != "write":
            fate = "request lost"
        if kind == "watch" and fate not in ("request lost", "request reset"):
            return ""  # what befalls streams is said apart
        if fate == "refused":
            return ""
        self.faults[fate] += 1
        return fate

    def _befalls(self, fault: str) -> bool:
        chance = self.weather.unary.get(fault, 0.0) * self.weather.rough
        if not chance or self.chance.random() >= chance:
            return False
        self.faults[fault] += 1
        return True

    def closed(self, pipe: Pipe) -> None:
        """Hear that the client has closed its end; what it has sent arrives all the same."""
        self._open.get(pipe.process.number, {}).pop(pipe.number, None)
        if pipe.handle is not None:
            handle, pipe.handle = pipe.handle, None
            self.scheduler.after(self._trip(), self._gone, pipe, handle)

    def _gone(self, pipe: Pipe, handle: Any) -> None:
        if self.link(pipe.process, pipe.host).forth:
            handle.close()

    def died(self, process: Process) -> None:
        """Close what a process had open that was killed."""
        for pipe in list(self._open.pop(process.number, {}).values()):
            pipe.closed = True
            self.closed(pipe)

    # -- to the member ---------------------------------------------------------------------------------------

    def _arrive(self, pipe: Pipe, request: Request, fate: str) -> None:
        link = self.link(pipe.process, pipe.host)
        if not link.forth:
            link.held.append((self._arrive, pipe, request, fate))
            return
        host = self.members.hosts[pipe.host]
        if host.state == "down" or host.epoch != pipe.epoch:
            self._reset(pipe)
            return
        host.take(pipe, request, fate)

    # -- from the member -------------------------------------------------------------------------------------

    def reply(self, pipe: Pipe, answer: Answer, fate: str = "") -> None:
        """Send an answer on its way; `fate` is what will befall it."""
        if (trace := self.scheduler.trace) is not None:
            trace(
                f"m{pipe.host} > {pipe.process} #{pipe.number} {answer.status} {answer.body!r} {fate}"
            )
        if fate == "reply lost":
            pipe.silenced = True
        elif fate == "reply reset":
            self.scheduler.after(self._trip(), self._reset, pipe)
        else:
            self.scheduler.after(self._delay(fate), self._deliver, pipe, answer, fate)

    def _delay(self, fate: str) -> float:
        if fate == "reply late":
            return self.chance.uniform(0.5, 9.0)
        return self.chance.uniform(0.1, 0.95) if fate == "reply slow" else self._trip()

    def _deliver(self, pipe: Pipe, answer: Answer, fate: str) -> None:
        if pipe.closed or self._is_held(pipe, self._deliver, answer, fate):
            return
        if pipe.epoch != self.epoch(pipe.host):
            self._reset(pipe)
            return
        pipe.head = (answer.status, answer.headers)
        body = answer.body
        if fate in ("answer cut", "answer half"):
            body = body[: self.chance.randrange(len(body) or 1)]
        pipe.pieces.append(body)
        pipe.ended, pipe.broken = fate != "answer cut", fate == "answer cut"
        pipe.wake()

    def head(self, pipe: Pipe, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of a stream on its way."""
        self._in_order(pipe, self._stream_head, status, headers)

    def chunk(self, pipe: Pipe, data: bytes) -> None:
        """Send a piece of a stream on its way, now and then in two."""
        if (trace := self.scheduler.trace) is not None:
            trace(f"m{pipe.host} > {pipe.process} #{pipe.number} {data!r}")
        if len(data) > 2 and self.chance.random() < 0.1:
            at = self.chance.randrange(1, len(data))
            self._in_order(pipe, self._stream_piece, data[:at])
            data = data[at:]
        self._in_order(pipe, self._stream_piece, data)

    def end(self, pipe: Pipe, cut: bool) -> None:
        """Send the end of a stream on its way; `cut` when it is no proper one."""
        self._in_order(pipe, self._stream_end, cut)

    def _in_order(self, pipe: Pipe, deliver: Any, *what: Any) -> None:
        if not pipe.silenced:
            pipe.not_before = max(pipe.not_before, self.scheduler.time + self._trip())
            self.scheduler.at(pipe.not_before, deliver, pipe, *what)

    def _stream_head(self, pipe: Pipe, status: int, headers: Mapping[str, str]) -> None:
        if not pipe.closed and not self._is_held(pipe, self._stream_head, status, headers):
            pipe.head = (status, headers)
            pipe.wake()

    def _stream_piece(self, pipe: Pipe, data: bytes) -> None:
        if not pipe.closed and not self._is_held(pipe, self._stream_piece, data):
            pipe.pieces.append(data)
            pipe.wake()

    def _stream_end(self, pipe: Pipe, cut: bool) -> None:
        if not pipe.closed and not self._is_held(pipe, self._stream_end, cut):
            pipe.ended, pipe.broken = not cut, cut
            pipe.wake()

    def _reset(self, pipe: Pipe) -> None:
        if not pipe.closed and not self._is_held(pipe, self._reset):
            pipe.broken = True
            pipe.wake()

    def reset_host(self, host: Host) -> None:
        """Break all connections of a member that died."""
        for pipes in self._open.values():
            for pipe in pipes.values():
                if pipe.host == host.number and pipe.epoch >= 0:
                    self.scheduler.after(self._trip(), self._reset, pipe)

    def _is_held(self, pipe: Pipe, deliver: Any, *what: Any) -> bool:
        """Keep what comes back over a way that is cut; it comes when the way is whole."""
        link = self.link(pipe.process, pipe.host)
        if link.back:
            return False
        link.held.append((deliver, pipe, *what))
        return True

    # -- cuts ------------------------------------------------------------------------------------------------

    def cut(self, process: Process, host: int, *, forth: bool = True, back: bool = True) -> None:
        """Cut a link one way or both."""
        link = self.link(process, host)
        link.changes += 1
        link.forth, link.back = link.forth and not forth, link.back and not back

    def mend(self, process: Process, host: int) -> None:
        """Make a link whole, in a moment; what it holds by then goes on first, in its order."""
        link = self.link(process, host)
        link.changes += 1
        self.scheduler.after(0.2 + self._trip(), self._restore, link, link.changes)

    def _restore(self, link: Link, change: int) -> None:
        if link.changes != change:
            return  # it was cut again
        link.forth = link.back = True
        held, link.held = link.held, []
        for go_on, *what in held:
            go_on(*what)

    def mend_all(self) -> None:
        """Make everything whole."""
        self.weather.clear()
        for process in self.scheduler.processes:
            for host in self.members.hosts:
                self.mend(process, host.number)

    def let_it_be_the_last(self, process: Process, then: Callable[[], None]) -> None:
        """Have the answer to the next renewal of a process take long, and then call `then`, to cut it off."""
        self._last_words[process.number] = then

    def forget(self, pipe: Pipe) -> None:
        """Be a firewall that has forgotten a connection: nothing comes through, until the system finds out."""
        pipe.silenced = True
        self.scheduler.after(KEEP_ALIVE, self._reset, pipe)

    # -- mishaps of streams ----------------------------------------------------------------------------------

    def streams(self) -> list[Pipe]:
        """Give the streams that are open."""
        return [
            pipe
            for pipes in self._open.values()
            for pipe in pipes.values()
            if pipe.handle is not None
        ]

    def spoil(self, pipe: Pipe, how: str) -> None:
        """Do to a stream what the last line of the module's docstring lists."""
        self.faults[f"stream {how}"] += 1
        if how == "silent" or (how == "repeats" and not hasattr(pipe.handle, "repeat")):
            self.forget(pipe)
        elif how == "repeats":
            pipe.handle.repeat(self.chance.randrange(1, 60))
        else:
            if how == "cut":  # in the middle of a message
                self._in_order(pipe, self._stream_piece, b'{"result":{"header":{"clus')
            self._in_order(pipe, self._stream_end, how != "ended")
            pipe.silenced = True


def renews(request: Request) -> bool:
    """Tell whether a request renews a lease, or a key."""
    return request.path.endswith("keepalive") or b"refresh=true" in request.body
