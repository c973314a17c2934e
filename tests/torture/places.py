"""Where the three members live, and how their network is hurt.

    Namespaces   each member in a network namespace of its own, behind one bridge; faults are iptables rules.
                 Needs root, iproute2 and iptables.
    Loopback     all on the loopback interface, every link of clients and members through a FaultProxy.

Rules of this file
1. Servers listen inside their namespaces or on the loopback interface, and nowhere else.
2. All that is made here is known to the janitor before it is made.
3. Faults of the network add up, and `heal` ends all of them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from etcd_recipes.testing import FaultProxy
from etcd_recipes.testing.ports import free_ports
from tests.tools import eventually
from tests.torture.janitor import Janitor
from tests.torture.member import Addresses, Member

__all__ = ["MEMBERS", "Loopback", "Namespaces", "NoNamespaces", "Places", "open_places"]

MEMBERS = 3
PATIENCE = 60.0


class NoNamespaces(Exception):
    """Namespaces cannot be had here; the message says why."""


class Places(ABC):
    """Three members, started when it is made; closed with `with`."""

    name: str
    missing: dict[str, str]
    """The kinds of fault that cannot be had here, and why."""
    members: tuple[Member, ...]
    endpoints: tuple[str, ...]

    def __init__(self, janitor: Janitor) -> None:
        self.janitor = janitor
        self._stack = ExitStack()

    def _open(
        self, binary: Path, cluster: Sequence[Addresses], before: Sequence[Sequence[str]]
    ) -> None:
        token = secrets.token_hex(8)
        members = []
        for n in range(MEMBERS):
            members.append(Member(n, binary, cluster, token, before[n]))
            self._stack.callback(members[-1].close)
        self.members = tuple(members)
        for member in self.members:
            member.start()
        self.wait()
        self.ids = {member.name: (member.view() or (0,))[0] for member in self.members}

    def wait(self) -> None:
        """Wait until every member serves."""
        for member in self.members:
            try:
                eventually(lambda: member.serves() or not member.alive, PATIENCE)  # noqa: B023
            except AssertionError as error:
                error.add_note(member.log_tail())
                raise
            assert member.alive, f"{member} has ended:\n{member.log_tail()}"

    def leader(self) -> Member:
        """Give who leads by a majority's word."""
        return eventually(self._leader, PATIENCE, "an election")

    def _leader(self) -> Member | None:
        views = {m.name: view for m in self.members if (view := m.view()) is not None}
        beliefs = [(leader, term) for _, leader, term in views.values()]
        for member in self.members:
            if (view := views.get(member.name)) is None or view[0] != view[1]:
                continue
            if 2 * beliefs.count((view[1], view[2])) > MEMBERS:
                return member
        return None

    def others(self, member: Member) -> list[Member]:
        return [each for each in self.members if each is not member]

    def revive(self) -> None:
        """Have every member run, and the network be well; returns when all serve."""
        for member in self.members:
            member.resume()
            if not member.alive:
                member.start()
        self.heal()
        self.wait()

    @abstractmethod
    def partition(self, member: Member, *, incoming: bool = True, outgoing: bool = True) -> None:
        """Cut a member off from the others: both ways, or what comes in, or what goes out."""

    @abstractmethod
    def cut_clients(self, member: Member) -> None:
        """Let nothing pass between a member and all clients."""

    @abstractmethod
    def lose(self, member: Member, share: float) -> None:
        """Lose this share of all packets that come in."""

    @abstractmethod
    def heal(self) -> None:
        """End all faults of the network."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class Namespaces(Places):
    name = "network namespaces"

    def __init__(self, janitor: Janitor, binary: Path) -> None:
        super().__init__(janitor)
        if (why := _why_not()) is not None:
            raise NoNamespaces(why)
        self.missing = {}
        self._tag = f"etr{os.getpid():x}"
        self._net = _free_net()
        self._spaces = [f"{self._tag}n{n}" for n in range(MEMBERS)]
        try:
            self._build()
            cluster = [Addresses(*self._urls(n)) for n in range(MEMBERS)]
            self.endpoints = tuple(each.client for each in cluster)
            inside = [["ip", "netns", "exec", space] for space in self._spaces]
            self._open(binary, cluster, inside)
        except subprocess.CalledProcessError as error:
            self._stack.close()
            raise NoNamespaces(f"{' '.join(error.cmd)}: {error.stderr.strip()}") from error
        except BaseException:
            self._stack.close()
            raise

    def _build(self) -> None:
        bridge = f"{self._tag}b"
        self.janitor.later(f"ip link del {bridge}")
        _do(f"ip link add {bridge} type bridge")
        _do(f"ip addr add {self._net}.254/24 dev {bridge}")
        _do(f"ip link set {bridge} up")
        for n, space in enumerate(self._spaces):
            veth = f"{self._tag}v{n}"
            self.janitor.later(f"ip netns del {space}")
            self.janitor.later(f"ip link del {veth}")
            _do(f"ip netns add {space}")
            _do(f"ip link add {veth} type veth peer name eth0 netns {space}")
            _do(f"ip link set {veth} master {bridge}")
            _do(f"ip link set {veth} up")
            _do(f"ip -n {space} addr add {self._address(n)}/24 dev eth0")
            _do(f"ip -n {space} link set eth0 up")
            _do(f"ip -n {space} link set lo up")
            _do(f"ip netns exec {space} iptables -w -F")

    def _address(self, n: int) -> str:
        return f"{self._net}.{10 + n}"

    def _urls(self, n: int) -> tuple[str, str, str]:
        peer = f"http://{self._address(n)}:2380"
        return f"http://{self._address(n)}:2379", peer, peer

    def partition(self, member: Member, *, incoming: bool = True, outgoing: bool = True) -> None:
        for other in self.others(member):
            address = self._address(self.members.index(other))
            if incoming:
                self._rule(member, f"INPUT -s {address}")
            if outgoing:
                self._rule(member, f"OUTPUT -d {address}")

    def cut_clients(self, member: Member) -> None:
        self._rule(member, f"INPUT -s {self._net}.254")
        self._rule(member, f"OUTPUT -d {self._net}.254")

    def lose(self, member: Member, share: float) -> None:
        self._rule(member, f"INPUT -i eth0 -m statistic --mode random --probability {share}")

    def _rule(self, member: Member, what: str) -> None:
        space = self._spaces[self.members.index(member)]
        _do(f"ip netns exec {space} iptables -w -A {what} -j DROP")

    def heal(self) -> None:
        for space in self._spaces:
            _do(f"ip netns exec {space} iptables -w -F")


class Loopback(Places):
    name = "loopback, through proxies"

    def __init__(self, janitor: Janitor, binary: Path) -> None:
        super().__init__(janitor)
        self.missing = {"loss": "packets can be lost in network namespaces only"}
        ports = free_ports(2 * MEMBERS)
        try:
            self._before = [self._proxy(port) for port in ports[:MEMBERS]]
            self._between = [self._proxy(port) for port in ports[MEMBERS:]]
            cluster = [
                Addresses(_url(client), _url(peer), self._between[n].endpoint)
                for n, (client, peer) in enumerate(
                    zip(ports[:MEMBERS], ports[MEMBERS:], strict=True)
                )
            ]
            self.endpoints = tuple(proxy.endpoint for proxy in self._before)
            self._open(binary, cluster, [()] * MEMBERS)
        except BaseException:
            self._stack.close()
            raise

    def _proxy(self, port: int) -> FaultProxy:
        proxy = FaultProxy(_url(port))
        self._stack.callback(proxy.close)
        return proxy

    def partition(self, member: Member, *, incoming: bool = True, outgoing: bool = True) -> None:
        """What a member says goes out in its requests to others, and in its answers to requests of theirs."""
        its_own = f"X-Server-From: {self.ids[member.name]:x}\r\n".encode()
        for proxy, each in zip(self._between, self.members, strict=True):
            if each is member:
                proxy.blackhole(requests=incoming, replies=outgoing)
            else:
                proxy.blackhole(requests=outgoing, replies=incoming, only=its_own)

    def cut_clients(self, member: Member) -> None:
        self._before[self.members.index(member)].blackhole()

    def lose(self, member: Member, share: float) -> None:
        raise NotImplementedError(self.missing["loss"])

    def heal(self) -> None:
        for proxy in (*self._before, *self._between):
            proxy.heal()


def open_places(wanted: str | None, janitor: Janitor, binary: Path) -> tuple[Places, str]:
    """Give places of the wanted kind (``netns``, ``loopback``, None: the best there is), and why not others."""
    if wanted != "loopback":
        try:
            return Namespaces(janitor, binary), ""
        except NoNamespaces as error:
            if wanted is not None:
                raise
            return Loopback(janitor, binary), str(error)
    return Loopback(janitor, binary), ""


def _why_not() -> str | None:
    if os.geteuid():
        return "network namespaces need root"
    for program in ("ip", "iptables"):
        if shutil.which(program) is None:
            return f"there is no program {program!r}"
    return None


def _free_net() -> str:
    taken = _do("ip -o -4 addr")
    return next(net for n in range(1, 255) if f" {(net := f'10.77.{n}')}." not in taken)


def _do(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
