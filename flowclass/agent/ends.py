"""What the two ends have in common, a mobile node and a correspondent node: `flowclass mn` and `flowclass cn`.

As in the home agent, a data thread runs the forwarder, in C and without the interpreter's lock, and the main thread
does everything else. A TUN device takes the packets of applications, which see the home address or the host's own.
"""

from __future__ import annotations

import signal
import socket
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from flowclass.errors import FlowclassError

from .control import ControlServer, Handler
from .logs import Log
from .loop import DataThread, Loop
from .network import Network
from .nftables import run_nft
from .packets import MOBILITY
from .sockets import mobility_tap, payloads
from .tun import DEVICE_QUEUE, Tun

if TYPE_CHECKING:
    from ._forward import Forwarder, Local

__all__ = ["PATH_MTU", "EndService", "Handler", "Untouched"]

PATH_MTU: Final = 65535
"""What paths are taken to allow until an interface says less: the kernel knows the MTU of each of them."""


class EndService(ABC):
    """One running end. `run` returns when it has been told to stop."""

    role: ClassVar[str]
    forwarder: Forwarder

    def __init__(self, log: Log, control: Path, tun: str, mtu: int) -> None:
        self.log: Log = log
        self._closing = ExitStack()
        self.loop: Loop = self._keep(Loop())
        self.counters: Counter[str] = Counter()
        self._control, self._device, self._mtu = control, tun, mtu
        self._data: DataThread = DataThread(self.loop, self._take_waiting, self.counters)

    def run(self) -> None:
        try:
            self.loop.on_signal(signal.SIGTERM, self._leave)
            self.loop.on_signal(signal.SIGINT, self._leave)
            self.loop.on_signal(signal.SIGHUP, self.reload)
            self.network: Network = self._keep(Network())
            self._open()
            self._keep(ControlServer(self._control, self.loop, self._answer, self.log))
            self._data.start(self.forwarder)
            self._serve()
            self.loop.run()
            self.log.info("stopped")
        finally:
            self._data.stop()
            self._closing.close()  # all of them, also if one fails

    def _keep(self, thing: Any) -> Any:
        self._closing.callback(thing.close)
        return thing

    def _tun(self) -> Tun:
        tun: Tun = self._keep(Tun(self._device, offloads=True))
        self.network.set_up(self._device, self._mtu, queue=DEVICE_QUEUE)
        return tun

    def _tap(self, *, home_address: bool) -> socket.socket:
        self._keep(payloads(socket.AF_INET6, MOBILITY))  # otherwise the kernel would report an unknown protocol
        tap: socket.socket = self._keep(mobility_tap(home_address=home_address))
        return tap

    @abstractmethod
    def _open(self) -> None:
        """Open the devices and sockets, and make the forwarder."""

    @abstractmethod
    def _serve(self) -> None:
        """Begin, when the data thread runs."""

    @abstractmethod
    def _leave(self) -> None: ...

    @abstractmethod
    def reload(self) -> FlowclassError | None:
        """Read the configuration file again (SIGHUP); return what is wrong with it, and then nothing has changed."""

    @abstractmethod
    def _take(self, local: Local) -> None:
        """Process a packet for this node itself."""

    def _take_waiting(self) -> None:
        waiting = self._data.waiting
        for _ in range(len(waiting)):  # what comes meanwhile waits, so that timers and signals have their turn
            self._take(waiting.popleft()[1])

    # ---- the operator

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        command, handlers = str(request.get("command")), self._handlers()
        if command not in handlers:
            raise FlowclassError(f"a {self.role} answers {', '.join(handlers)}, not {command!r}")
        return handlers[command](request)

    def _handlers(self) -> dict[str, Handler]:
        return {
            "status": lambda _: self._status(),
            "counters": lambda _: self._counters(),
            "reload": self._reload,
        }

    def _reload(self, request: dict[str, Any]) -> dict[str, Any]:
        refused = self.reload()
        if refused is not None:
            raise refused
        return {}

    @abstractmethod
    def _status(self) -> dict[str, Any]: ...

    def _counters(self) -> dict[str, Any]:
        data = self.forwarder.counters()
        return {"counters": dict(self.counters), "packets": data["packets"], "drops": data["drops"]}


class Untouched:
    """Keeps the kernel from answering packets with type 2 routing headers, or with Home Address options, by errors.

    A packet socket sees them before; the kernel's own processing is ended by a table of nftables, which exists until
    `close`. What this host forwards to others passes. A table that an ended process has left is replaced.
    """

    def __init__(self, name: str, *, home_address: bool) -> None:
        self._table = f"ip6 flowclass_{name.replace('-', '_').replace('.', '_')}"
        # RFC 6275 section 6.3: the option begins at 8n + 6, so that it is the first one or follows padding
        option = "ip6 nexthdr 60 @nh,{at},8 201 drop"
        rules = [option.format(at=336), option.format(at=368)] if home_address else ["ip6 nexthdr 43 @nh,336,8 2 drop"]
        chain = "\n".join(["type filter hook input priority -400", *rules])
        try:
            run_nft(f"{self._none()}table {self._table} {{\nchain arriving {{\n{chain}\n}}\n}}\n")
        except FlowclassError as error:
            raise FlowclassError(f"route optimization needs nftables: {error}") from None

    def _none(self) -> str:
        """Commands after which the table isn't there, whether it was or not: a firewall that is loaded anew removes
        those of others."""
        return f"table {self._table}\ndelete table {self._table}\n"

    def close(self) -> None:
        run_nft(self._none())
