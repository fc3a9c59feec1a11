"""The control socket of a daemon, and its client `flowclass ctl`; each request and each answer is a line of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from flowclass.errors import FlowclassError

from .logs import Log
from .loop import Loop

__all__ = ["Asker", "ControlServer", "Handler", "ask", "check_control"]

_LONGEST: Final = 1 << 20
_CLIENTS: Final = 32
_LONGEST_PATH: Final = 107  # octets, of the address of a Unix socket

Handler = Callable[[dict[str, Any]], dict[str, Any]]


def check_control(path: Path) -> None:
    """Raise `FlowclassError` if there can be no control socket at a path; one that an agent uses now is none of the
    reasons."""
    problem = None
    if len(os.fsencode(path)) > _LONGEST_PATH:
        problem = f"more than {_LONGEST_PATH} octets"
    elif not path.parent.is_dir():
        problem = f"there is no folder {path.parent}"
    elif os.path.lexists(path) and not stat.S_ISSOCK(path.lstat().st_mode):
        problem = "a file that is no socket is there"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        problem = f"the folder {path.parent} can't be written to"
    if problem is not None:
        raise FlowclassError(f"the control socket {path}: {problem}")


class ControlServer:
    """Listens on a Unix socket for its owner only (mode 0600). A stale socket is replaced, one in use is not."""

    def __init__(self, path: Path, loop: Loop, handler: Handler, log: Log) -> None:
        self.path = path
        self._log = log
        self._loop = loop
        self._handler = handler
        self._clients: dict[socket.socket, bytearray] = {}
        check_control(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._bind()
        except OSError as error:
            self._socket.close()
            raise FlowclassError(f"the control socket {path}: {error.strerror or error}") from None
        self._socket.listen(8)
        self._socket.setblocking(False)
        loop.watch(self._socket, self._accept)

    def _bind(self) -> None:
        with contextlib.suppress(FileNotFoundError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            try:
                other.connect(str(self.path))
            except ConnectionRefusedError:
                self.path.unlink()
            else:
                raise OSError(98, "another agent listens there")
        before = os.umask(0o177)
        try:
            self._socket.bind(str(self.path))
        finally:
            os.umask(before)

    def hand_over(self, user: int, group: int) -> None:
        os.chown(self.path, user, group)

    def close(self) -> None:
        for client in list(self._clients):
            self._drop(client)
        self._loop.forget(self._socket)
        self._socket.close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _accept(self) -> None:
        try:
            client, _ = self._socket.accept()
        except OSError:
            return
        if len(self._clients) >= _CLIENTS:
            client.close()
            return
        client.setblocking(True)
        client.settimeout(1.0)  # for sending answers: a client must read them
        self._clients[client] = bytearray()
        self._loop.watch(client, lambda: self._read(client))

    def _drop(self, client: socket.socket) -> None:
        self._loop.forget(client)
        self._clients.pop(client, None)
        client.close()

    def _read(self, client: socket.socket) -> None:
        buffer = self._clients[client]
        try:
            data = client.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        buffer += data
        if not data or len(buffer) > _LONGEST:
            self._drop(client)
            return
        while (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            try:
                client.sendall(self._answer(line) + b"\n")
            except OSError:
                self._drop(client)
                return

    def _answer(self, line: bytes) -> bytes:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise FlowclassError("a JSON object expected")
            return json.dumps({"ok": True, **self._handler(request)}).encode()
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            problem = "no JSON"
        except (FlowclassError, OSError) as error:
            problem = str(error)
        except Exception as error:  # a failing request must not end the daemon
            problem = f"internal error: {error!r}"
            self._log.error("a question on the control socket went wrong", error=repr(error))
        return json.dumps({"ok": False, "error": problem}).encode()


class Asker:
    """A connection to a running agent; FlowclassError if no agent runs, or if the answer is an error."""

    def __init__(self, path: str | Path, timeout: float = 10.0) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise FlowclassError(f"{path}: no agent answers there ({error.strerror or error})") from None
        self._file = self._socket.makefile("rb")

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        try:
            self._socket.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            line = self._file.readline()
        except OSError as error:
            raise FlowclassError(f"{self.path}: the agent doesn't answer ({error})") from None
        if not line:
            raise FlowclassError(f"{self.path}: the agent has gone")
        answer: dict[str, Any] = json.loads(line)
        if not answer.pop("ok"):
            raise FlowclassError(answer["error"])
        return answer

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def ask(path: str | Path, command: str, **arguments: Any) -> dict[str, Any]:
    """Send one request to a running agent; return the answer."""
    asker = Asker(path)
    try:
        return asker.ask(command, **arguments)
    finally:
        asker.close()
