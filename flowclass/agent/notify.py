"""Telling systemd how the service is (sd_notify): one datagram, if it wants to know."""

from __future__ import annotations

import contextlib
import os
import socket

__all__ = ["notify"]


def notify(state: str) -> None:
    """``READY=1``, ``RELOADING=1``, ``STOPPING=1``, ``WATCHDOG=1``, ...; nothing happens without NOTIFY_SOCKET."""
    place = os.environ.get("NOTIFY_SOCKET")
    if not place:
        return
    if place.startswith("@"):
        place = "\0" + place[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.sendto(state.encode(), place)
