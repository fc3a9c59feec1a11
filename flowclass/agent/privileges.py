"""Drops the privileges of root after devices and sockets have been opened."""

from __future__ import annotations

import ctypes
import os
import pwd
import struct
from typing import Final

from flowclass.errors import FlowclassError

__all__ = ["become", "user_ids"]

_PR_SET_KEEPCAPS: Final = 8
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAP_NET_ADMIN: Final = 1 << 12
_SYS_CAPSET: Final = {"x86_64": 126, "aarch64": 91, "riscv64": 91, "armv7l": 185, "ppc64le": 184, "s390x": 185}


def user_ids(name: str) -> tuple[int, int]:
    """Return the user and group ids of an account; FlowclassError if there is no such account."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise FlowclassError(f"user: there is no account {name}") from None
    return found.pw_uid, found.pw_gid


def become(name: str) -> None:
    """Continue as this user, with the capability CAP_NET_ADMIN only, which a reload needs to add and remove routes.

    This concerns the calling thread, and threads that it starts later.
    """
    user, group = user_ids(name)
    libc = ctypes.CDLL(None, use_errno=True)
    machine = os.uname().machine
    try:
        _prctl(libc, _PR_SET_KEEPCAPS)
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
        if machine in _SYS_CAPSET:
            header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
            data = struct.pack("6I", _CAP_NET_ADMIN, _CAP_NET_ADMIN, 0, 0, 0, 0)
            if libc.syscall(_SYS_CAPSET[machine], header, data) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _prctl(libc, _PR_SET_NO_NEW_PRIVS)
    except OSError as error:
        raise FlowclassError(f"user: can't become {name}: {error.strerror}") from None


def _prctl(libc: ctypes.CDLL, option: int) -> None:
    if libc.prctl(option, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
