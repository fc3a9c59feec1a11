"""A TUN device: whole packets that the kernel routes to it can be read from a file descriptor."""

from __future__ import annotations

import fcntl
import os
import struct
from types import TracebackType
from typing import Final

from flowclass.errors import FlowclassError

__all__ = ["DEVICE_QUEUE", "MAX_NAME", "Tun"]

MAX_NAME: Final = 15
"""The most characters in the name of a device: IFNAMSIZ without the final zero."""

DEVICE_QUEUE: Final = 4096
"""How many packets wait to be read from a device of an agent: a burst is read in a few milliseconds."""

_TUNSETIFF: Final = 0x400454CA
_TUNSETOFFLOAD: Final = 0x400454D0
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
_IFF_MULTI_QUEUE: Final = 0x0100
_OFFLOADS: Final = 0x01 | 0x02 | 0x04  # TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6
_SEGMENTATION_OF_UDP: Final = 0x20 | 0x40  # TUN_F_USO4, TUN_F_USO6: Linux 6.2


class Tun:
    """Creates the TUN device ``name``, which exists until `close` or the end of the process.

    The attribute ``queues`` has its non-blocking file descriptors. With ``offloads`` each packet begins with a
    virtio_net_hdr of 10 octets, and may be a super-packet of many segments. Raises FlowclassError with the reason if
    the device can't be created.
    """

    def __init__(self, name: str, *, queues: int = 1, offloads: bool = False) -> None:
        self.name = name
        self.queues: list[int] = []
        flags = _IFF_TUN | _IFF_NO_PI
        flags |= _IFF_VNET_HDR if offloads else 0
        flags |= _IFF_MULTI_QUEUE if queues > 1 else 0
        try:
            for _ in range(queues):
                queue = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                self.queues.append(queue)
                fcntl.ioctl(queue, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
                if offloads:
                    self._offload(queue)
        except OSError as error:
            self.close()
            raise FlowclassError(f"the TUN device {name} can't be made: {error.strerror}") from None

    @staticmethod
    def _offload(queue: int) -> None:
        try:
            fcntl.ioctl(queue, _TUNSETOFFLOAD, _OFFLOADS | _SEGMENTATION_OF_UDP)
        except OSError:  # a kernel before 6.2
            fcntl.ioctl(queue, _TUNSETOFFLOAD, _OFFLOADS)

    def close(self) -> None:
        for queue in self.queues:
            os.close(queue)
        self.queues = []

    def __enter__(self) -> Tun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
