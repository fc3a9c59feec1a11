"""Reports the state of the service to systemd in a datagram (sd_notify)."""

from __future__ import annotations

import contextlib
import os
import socket

__all__ = ["notify"]


def notify(state: str) -> None:
    """Report a state such as ``READY=1``, ``RELOADING=1`` or ``STOPPING=1``; without NOTIFY_SOCKET, do nothing."""
    place = os.environ.get("NOTIFY_SOCKET")
    if not place:
        return
    if place.startswith("@"):
        place = "\0" + place[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.sendto(state.encode(), place)
