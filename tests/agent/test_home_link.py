"""The home link's timers and its failures; what it sends is tested in namespaces (test_live_agent.py)."""

from __future__ import annotations

import errno
import socket
import time
from ipaddress import IPv6Address
from typing import Any

import pytest

from flowclass.agent import home_link
from flowclass.agent.home_link import HomeLink

HOME, AGENT = IPv6Address("2001:db8:100::5").packed, IPv6Address("2001:db8:100::1").packed


class FakeSocket:
    """Takes every option and sends nowhere; counts the groups that are joined, and refuses them if told to."""

    refuses = False
    groups = open = 0

    def __init__(self, *_: object) -> None:
        FakeSocket.open += 1

    def setsockopt(self, level: int, option: int, value: object) -> None:
        if option == socket.IPV6_JOIN_GROUP and level == socket.IPPROTO_IPV6:
            if FakeSocket.refuses:
                raise OSError(errno.ENODEV, "No such device")
            FakeSocket.groups += 1
        if option == socket.IPV6_LEAVE_GROUP and level == socket.IPPROTO_IPV6:
            FakeSocket.groups -= 1

    def sendto(self, packet: bytes, to: object) -> None:
        pass

    def close(self) -> None:
        FakeSocket.open -= 1


class Surroundings:
    """A network, a loop and a log that do nothing."""

    def index(self, name: str) -> int:
        return 7

    def hardware_address(self, name: str) -> bytes:
        return bytes(6)

    def watch(self, *_: object) -> None:
        pass

    forget = add_route = remove_route = watch


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> HomeLink:
    for name in ("raw_ipv6", "neighbor_tap", "payloads"):
        monkeypatch.setattr(home_link, name, FakeSocket)
    for name, value in (("refuses", False), ("groups", 0), ("open", 0)):
        monkeypatch.setattr(FakeSocket, name, value)
    around: Any = Surroundings()
    return HomeLink("home0", AGENT, "flowclass0", around, around, around)


def test_a_probe_lasts_its_own_second_whatever_came_before_it(link: HomeLink, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, bool]] = []
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    link.probe(HOME, lambda unique: told.append(("first", unique)))
    link._found(HOME, unique=False)  # as when another node advertises it
    now = 100.5
    link.probe(HOME, lambda unique: told.append(("second", unique)))
    link.tick(101.2)
    assert told == [("first", False)]
    link.tick(101.5)
    assert told == [("first", False), ("second", True)]
    assert FakeSocket.groups == 0
    assert link.next_deadline() is None


def test_where_a_group_cannot_be_joined_nothing_is_left_behind(link: HomeLink) -> None:
    FakeSocket.refuses = True
    sockets = FakeSocket.open
    for _ in range(3):
        with pytest.raises(OSError, match="No such device"):
            link.probe(HOME, lambda unique: None)
    assert FakeSocket.open == sockets
    assert link.next_deadline() is None
    FakeSocket.refuses = False
    told: list[bool] = []
    link.probe(HOME, told.append)
    link.tick(time.monotonic() + 1)
    assert told == [True]
    link.close()
    assert FakeSocket.open == 0
