"""Network namespaces for tests of the live agents: made, used and removed by a test.

correspondent                     mobile node
 2001:db8:c::2              wlan: 2001:db8:a::2   lte: 2001:db8:b::2
       |                            |                  |
      core (routes between all of them; on wlan also 2001:db8:d::1)
       |
  2001:db8:f::2
   home agent, 2001:db8:100::1 inside its TUN device, home prefix 2001:db8:100::/64
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

HOME_AGENT = "2001:db8:100::1"
HOME = "2001:db8:100::5"
CORRESPONDENT = "2001:db8:c::2"
CARE_OF_A = "2001:db8:a::2"
CARE_OF_B = "2001:db8:b::2"
CARE_OF_D = "2001:db8:d::2"

PATIENCE = 60.0
"""Seconds until a test gives up on what usually takes milliseconds: the machine may be busy with other work."""

_serial = 0


def wait_until(condition: Callable[[], object], what: str = "it", seconds: float = PATIENCE) -> None:
    """Return as soon as a condition holds; AssertionError if it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def why_not() -> str | None:
    """Why tests with namespaces can't run here; None: they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun"
    probe = f"fc-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode:
        return "network namespaces can't be made here"
    subprocess.run(["ip", "netns", "del", probe], capture_output=True)
    return None


needs_namespaces = pytest.mark.skipif(bool(_why := why_not()), reason=_why or "")


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done


class Daemon:
    """A process in a namespace whose standard error is read up to the line that says that it serves."""

    def __init__(self, command: list[str], log: Path, ready: str | None = "ready") -> None:
        self.log_path = log
        self._log = log.open("wb")
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL)
        if ready is not None:
            self.wait_for(ready)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float = PATIENCE, times: int = 1) -> None:
        """Return when the log has ``text`` so many times."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ended = self.process.poll() is not None  # before the log is read: it is whole then
            if self.log.count(text) >= times:
                return
            if ended:
                raise AssertionError(f"ended with {self.process.returncode} before {text!r}: {self.log}")
            time.sleep(0.01)
        raise AssertionError(f"no {text!r} within {seconds} s: {self.log}")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, seconds: float = PATIENCE) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not stop: {self.log}") from None
        finally:
            self._log.close()
        return status


class Laboratory:
    """The topology above, in namespaces of its own; a context manager."""

    def __init__(self, folder: Path) -> None:
        global _serial
        _serial += 1
        self.folder = folder
        self.prefix = f"fc{os.getpid()}x{_serial}"
        self.names: dict[str, str] = {}
        self.daemons: list[Daemon] = []

    def __enter__(self) -> Laboratory:
        try:
            for name in ("core", "cn", "ha", "mn"):
                self.names[name] = f"{self.prefix}{name}"
                run("ip", "netns", "add", self.names[name])
                self.ip(name, "link set lo up")
            for name in ("core", "ha"):
                self.sysctl(name, "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.forwarding=1",
                            "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")  # fmt: skip
            self.sysctl("mn", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")
            self.link("cn", "eth0", "corr", "2001:db8:c::", "192.0.2.0", 0)
            self.link("ha", "eth0", "agent", "2001:db8:f::", "192.0.2.4", 0)
            self.link("mn", "wlan", "wlan", "2001:db8:a::", "192.0.2.8", 100)
            self.link("mn", "lte", "lte", "2001:db8:b::", "192.0.2.12", 200)
            self.ip("core", "addr add 2001:db8:d::1/64 dev wlan nodad")
            self.ip("core", "route add 2001:db8:100::/64 via 2001:db8:f::2")
            self.ip("core", "route add 198.51.100.0/24 via 192.0.2.6")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for daemon in reversed(self.daemons):
            if daemon.process.poll() is None:
                daemon.process.kill()
                daemon.process.wait()
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    # ---- making it

    def ip(self, name: str, command: str) -> str:
        return run("ip", "-n", self.names[name], *command.split()).stdout

    def sysctl(self, name: str, *settings: str) -> None:
        run("ip", "netns", "exec", self.names[name], "sysctl", "-q", "-w", *settings)

    def link(self, name: str, interface: str, at_core: str, network: str, network4: str, metric: int) -> None:
        """A veth pair between a namespace and the core, numbered ::2 and ::1, with a default route through the core."""
        ends = ["name", interface, "netns", self.names[name]], ["name", at_core, "netns", self.names["core"]]
        run("ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        head, last = network4.rsplit(".", 1)
        for where, device, end in (("core", at_core, 1), (name, interface, 2)):
            self.sysctl(where, f"net.ipv6.conf.{device}.accept_dad=0")
            self.ip(where, f"addr add {network}{end}/64 dev {device} nodad")
            self.ip(where, f"addr add {head}.{int(last) + end}/30 dev {device}")
            self.ip(where, f"link set {device} up")
        self.ip(name, f"-6 route add default via {network}1 dev {interface} metric {1024 + metric}")
        self.ip(name, f"-4 route add default via {head}.{int(last) + 1} dev {interface} metric {1024 + metric}")

    # ---- using it

    def inside(self, name: str, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.names[name], *command]

    def run(self, name: str, *command: str, **options: Any) -> str:
        return run(*self.inside(name, *command), **options).stdout

    def start(self, name: str, *command: str, ready: str | None = "ready") -> Daemon:
        log = self.folder / f"{len(self.daemons)}-{name}.log"
        daemon = Daemon(self.inside(name, *command), log, ready)
        self.daemons.append(daemon)
        return daemon

    def flowclass(self, name: str, *arguments: str, ready: str | None = "ready") -> Daemon:
        return self.start(name, sys.executable, "-m", "flowclass", *arguments, ready=ready)

    def home_link(self) -> None:
        """The home link as a real link: `home0` of the home agent, and a host, ::9, with a default route through it."""
        self.names["host"] = f"{self.prefix}host"
        run("ip", "netns", "add", self.names["host"])
        ends = ["name", "home0", "netns", self.names["ha"]], ["name", "eth0", "netns", self.names["host"]]
        run("ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for name, device, number in (("ha", "home0", 2), ("host", "eth0", 9)):
            self.ip(name, f"addr add 2001:db8:100::{number}/64 dev {device} nodad")
            self.ip(name, f"link set {device} up")
        self.ip("host", "-6 route add default via 2001:db8:100::2")

    def home_agent(self, text: str = "", security: str = "insecure = true", profile: str = "draft") -> Daemon:
        """Starts `flowclass ha` with the usual configuration and ``text`` before its security section."""
        path = self.folder / "ha.toml"
        path.write_text(
            f'profile = "{profile}"\nhome_agent = "{HOME_AGENT}"\nhome_prefixes = ["2001:db8:100::/64"]\n'
            f"{text}\n[security]\n{security}\n"
        )
        return self.flowclass("ha", "ha", str(path))

    def mobile_node(
        self, text: str = "", security: str = "insecure = true", ready: str | None = "ready", top: str = ""
    ) -> Daemon:
        """Starts `flowclass mn` with both care-of addresses; ``top`` is for keys outside of sections."""
        path = self.folder / "mn.toml"
        path.write_text(
            f'home_address = "{HOME}"\nhome_agent = "{HOME_AGENT}"\n{top}\n'
            '[[care_of]]\nbid = 1\ninterface = "wlan"\npriority = 20\n'
            '[[care_of]]\nbid = 2\ninterface = "lte"\npriority = 10\n'
            f"{text}\n[security]\n{security}\n"
        )
        return self.flowclass("mn", "mn", str(path), ready=ready)

    def correspondent(self, text: str = "") -> Daemon:
        """Starts `flowclass cn` in the namespace of the correspondent node."""
        path = self.folder / "cn.toml"
        path.write_text(f'address = "{CORRESPONDENT}"\n{text}\n')
        return self.flowclass("cn", "cn", str(path))

    def ctl(self, *arguments: str, socket: str = "flowclass.sock") -> Any:
        done = run(
            sys.executable, "-m", "flowclass", "ctl", "--socket", str(self.folder / socket), "--json", *arguments
        )
        return json.loads(done.stdout)

    def python(self, name: str, code: str, *arguments: str, **options: Any) -> str:
        return self.run(name, sys.executable, "-c", code, *arguments, **options)

    def capture(self, name: str, interface: str) -> Capture:
        return Capture(self, name, interface)


class Capture:
    """tcpdump on one interface; `rows` ends it and has tshark read what it saw."""

    def __init__(self, lab: Laboratory, name: str, interface: str) -> None:
        self._sender = lab.inside(name, sys.executable, "-c", _MARK, interface)
        self.path = lab.folder / f"{len(lab.daemons)}-{interface}.pcap"
        self.daemon = lab.start(
            name,
            "tcpdump",
            "-i",
            interface,
            "-n",
            "-U",
            "--immediate-mode",
            "-s",
            "2048",
            "-B",
            "32768",
            "-w",
            str(self.path),
            ready="listening on",
        )

    def frames(self) -> list[bytes]:
        """The frames captured until now, while it goes on."""
        data, at, found = self.path.read_bytes(), 24, []
        while at + 16 <= len(data):
            size = int.from_bytes(data[at + 8 : at + 12], sys.byteorder)
            if at + 16 + size > len(data):
                break  # tcpdump is about to write the rest
            found.append(data[at + 16 : at + 16 + size])
            at += 16 + size
        return found

    def count(self, octets: bytes) -> int:
        """How many of the packets until now have these octets somewhere; ICMPv6 errors about them don't count."""
        return sum(octets in frame and frame[20] != 58 for frame in self.frames())

    def _mark(self) -> None:
        """Wait until a frame that is sent now has been captured, and so all before it have."""
        mark = os.urandom(32)
        run(*self._sender, mark.hex())
        wait_until(lambda: any(mark in frame for frame in self.frames()), f"a frame in {self.path.name}")

    def rows(self, display: str, *fields: str) -> list[list[str]]:
        """The fields of each packet that passes a display filter; occurrences of one field joined by commas."""
        if self.daemon.process.poll() is None:
            self._mark()
            self.daemon.stop(signal.SIGINT)
        wanted = [part for field in fields for part in ("-e", field)]
        out = run("tshark", "-r", str(self.path), "-Y", display, "-T", "fields", "-E", "separator=;", *wanted).stdout
        return [line.split(";") for line in out.splitlines()]


_MARK = """
import socket, sys
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((sys.argv[1], 0))
out.send(bytes(12) + b"\\x88\\xb5" + bytes.fromhex(sys.argv[2]))  # an EtherType for local experiments
"""

_ECHO = """
import socket, sys, threading
def serve(connection):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)
def accept(server):
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
for port in map(int, sys.argv[2:]):
    server = socket.create_server((sys.argv[1], port), family=socket.AF_INET6)
    threading.Thread(target=accept, args=(server,)).start()
    print("listening", port, flush=True)  # by one thread only: lines of several would mix
"""

_CLIENT = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
file = connection.makefile("rb")
print("connected", flush=True)
for line in sys.stdin.buffer:
    connection.sendall(line)
    print("ok" if file.readline() == line else "WRONG", flush=True)
"""


def echo_server(lab: Laboratory, name: str, address: str, *ports: int) -> Daemon:
    """TCP servers that send back what they get."""
    daemon = lab.start(name, sys.executable, "-c", _ECHO, address, *map(str, ports), ready=None)
    for port in ports:
        daemon.wait_for(f"listening {port}\n")
    return daemon


class TcpClient:
    """One TCP connection, kept open, over which lines go there and back."""

    def __init__(self, lab: Laboratory, name: str, address: str, port: int) -> None:
        self.process = subprocess.Popen(
            lab.inside(name, sys.executable, "-c", _CLIENT, address, str(port)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self._expect("connected")

    def _expect(self, what: str) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line == what, f"{line!r} instead of {what!r}"

    def exchange(self, text: str = "hello") -> None:
        """A line there and back, within the time of the connection; AssertionError if it's lost."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self._expect("ok")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE)


@pytest.fixture
def laboratory(tmp_path: Path) -> Iterator[Laboratory]:
    with Laboratory(tmp_path) as lab:
        yield lab


_EXCHANGE = """
import ctypes, select, socket, struct, sys, time
interface, seconds, packets = sys.argv[1], float(sys.argv[2]), [bytes.fromhex(line) for line in sys.stdin]
tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD))
# only packets whose octet 6 is 43 or 135: others would fill the buffer while this waits for the processor
program = (0x30, 0, 0, 6), (0x15, 1, 0, 43), (0x15, 0, 1, 135), (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0)
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
tap.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", len(program), ctypes.addressof(code)))  # SO_ATTACH_FILTER
tap.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
tap.bind((interface, 0x86DD))
out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
out.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
for packet in packets:
    out.sendto(packet, (socket.inet_ntop(socket.AF_INET6, packet[24:40]), 0))
end, left = time.monotonic() + seconds, len(packets)
while left and (wait := end - time.monotonic()) > 0:
    if select.select([tap], [], [], wait)[0]:
        data, where = tap.recvfrom(65535)
        if where[2] == 0 and data[6] in (43, 135):
            print(data.hex(), flush=True)
            left -= 1
"""


def exchange(
    lab: Laboratory, name: str, interface: str, packets: list[bytes], seconds: float = PATIENCE
) -> list[bytes]:
    """Send whole IPv6 packets from a namespace, and return those with a Mobility Header that come back: as many as were
    sent, or what has come after ``seconds``, which is to be given where fewer are expected."""
    command = lab.inside(name, sys.executable, "-c", _EXCHANGE, interface, str(seconds))
    text = "".join(f"{packet.hex()}\n" for packet in packets)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=seconds + PATIENCE)
    assert done.returncode == 0, done.stderr
    return [bytes.fromhex(line) for line in done.stdout.split()]
